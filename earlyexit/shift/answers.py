"""What a network says of corrupted images."""

import os
from functools import partial

import numpy as np
import torch
from tqdm import tqdm

from earlyexit.common import pool
from earlyexit.shift.corruptions import CORRUPTIONS, corrupted
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.segment import all_logits

_CHUNK = 64


def answers(
    network: Deployment, images: np.ndarray, ids: np.ndarray, workers: int | None = None
) -> dict[str, np.ndarray]:
    """Return the INT8 logits (classifiers, N, 2) of the images under each corruption, by its name.

    The result does not depend on the number of workers.

    Args:
        network: INT8 segments.
        images: uint8 (N, H, W, 3), at least one.
        ids: of the images, (N,).
        workers: the number of processes; None for one on each usable core.
    """
    starts = range(0, len(images), _CHUNK)
    parts = ((images[start : start + _CHUNK], ids[start : start + _CHUNK]) for start in starts)
    # Forked, because the start of a new Python takes as long as the work. On one thread, because a forked process must
    # not wait for threads of PyTorch's that it does not have.
    one_thread = partial(torch.set_num_threads, 1)
    with pool.mapping(workers or len(os.sched_getaffinity(0)), one_thread, method="fork") as spread:
        found = list(
            tqdm(spread(partial(_part, network), *zip(*parts, strict=True)), desc="corruptions", total=len(starts))
        )
    return {name: np.concatenate([part[name] for part in found], axis=1) for name in CORRUPTIONS}


def _part(network: Deployment, images: np.ndarray, ids: np.ndarray) -> dict[str, np.ndarray]:
    segments = network.segments()
    found = {}
    for name in CORRUPTIONS:
        changed = np.stack([corrupted(name, image, int(id_)) for image, id_ in zip(images, ids, strict=True)])
        found[name] = all_logits(segments, network.quantize(changed))
    return found
