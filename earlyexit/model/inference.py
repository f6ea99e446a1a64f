"""Inference in PyTorch: the device, batches of normalized images, predictions."""

import os
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils import deterministic

from earlyexit.model.network import EarlyExitNetwork

BATCH = 256


def prepare_torch(seed: int, threads: int, device: str) -> torch.device:
    """Seed torch's generator, set the thread count, select deterministic kernels; return the device.

    Args:
        seed: of weights, batch order and augmentation.
        threads: CPU threads; "same seed, same bytes" holds for one number of threads, as float sums depend on it.
        device: "auto" (CUDA if there, else CPU), or a torch device.

    Raises:
        ValueError: `device` is CUDA, and torch finds none.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, matrix products on a GPU vary
    torch.set_deterministic_debug_mode("warn")  # use_deterministic_algorithms, without 2 s of imports for torch.compile
    # No code reads uninitialized memory, and filling it would take a third of the augmentation's time.
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
    parts = [torch.stack(network(x)).cpu() for x in normalized_batches(network, images, device)]
    network.train(was_training)
    return torch.cat(parts, dim=1).numpy()


def normalized_batches(network: EarlyExitNetwork, images: np.ndarray, device: torch.device) -> Iterator[Tensor]:
    """Yield `images`, uint8 (N, H, W, 3), on `device` as inputs of `network`, BATCH at a time; one batch for N = 0."""
    for start in range(0, max(1, len(images)), BATCH):
        # A copy: torch warns of read-only arrays, such as a memory-mapped split.
        yield network.normalize(torch.from_numpy(images[start : start + BATCH].copy()).to(device))
