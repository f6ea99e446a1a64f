"""The network in PyTorch: the device, predictions, and what a frozen backbone sees."""

import os
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.utils import deterministic

from earlyexit.model.network import EarlyExitNetwork

BATCH = 256


def prepare_torch(seed: int, threads: int, device: str) -> torch.device:
    """Seed torch's generator, fix the thread count, ask for deterministic kernels; return the device.

    Args:
        seed: of weights, batch order and augmentation.
        threads: CPU threads; float sums depend on it, so "same seed, same bytes" holds for one thread count.
        device: "auto" (CUDA if there, else CPU), or a torch device.

    Raises:
        ValueError: `device` asks for CUDA where there is none.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, matrix products on a GPU vary
    torch.set_deterministic_debug_mode("warn")  # use_deterministic_algorithms, without 2 s of imports for torch.compile
    # Nothing reads it, and filling it takes a third of the augmentation.
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"train.device: {device!r}, but torch finds no CUDA device here; use auto or cpu")
    return torch.device(device)


@torch.no_grad()
def predict(network: EarlyExitNetwork, images: np.ndarray, device: torch.device) -> np.ndarray:
    """Return the FP32 logits of every classifier: images uint8 (N, H, W, 3) -> float32 (classifiers, N, 2)."""
    was_training = network.training
    network.eval()
    parts = [torch.stack(network(x)).cpu() for x in _normalized(network, images, device)]
    network.train(was_training)
    return torch.cat(parts, dim=1).numpy()


def _normalized(network: EarlyExitNetwork, images: np.ndarray, device: torch.device) -> Iterable[Tensor]:
    for start in range(0, max(1, len(images)), BATCH):
        # A copy: torch warns of arrays that it must not write to, as a memory-mapped split is.
        yield network.normalize(torch.from_numpy(images[start : start + BATCH].copy()).to(device))
