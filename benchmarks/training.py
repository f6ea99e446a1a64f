"""Training throughput: the baseline stage's loop against the bare forward, backward and update on one batch in memory.

    python -m benchmarks.training            needs data/packed (dvc repro prepare)

Both run in turn, so that a noisy machine disturbs both; what counts is the ratio.
"""

import time
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch

from earlyexit.augment import Augmentation
from earlyexit.batches import Batch, ImageBatches
from earlyexit.inference import prepare_torch
from earlyexit.losses import weighted_loss
from earlyexit.network import EarlyExitNetwork
from earlyexit.packed import open_split
from earlyexit.params import load

BATCHES, ROUNDS = 20, 7


def main() -> None:
    """Print images per second of both, and their ratio."""
    params = load()
    train, recipe = params.train, params.baseline
    device = prepare_torch(train.seed, train.threads, train.device)
    network = EarlyExitNetwork(params.baseline_architecture()).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, fused=True)
    augmentation = Augmentation(params.data.resolution, **params.augment.model_dump())
    loader = ImageBatches(open_split("data/packed", "train"), network, recipe.batch_size, device, augmentation)
    stored = next(iter(loader))

    def steps(batches: Iterator[Batch]) -> float:
        count = 0
        start = time.perf_counter()
        for x, labels in batches:
            optimizer.zero_grad()
            weighted_loss(network(x), labels, [1.0]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            count += len(labels)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return count / (time.perf_counter() - start)

    steps(iter([stored] * 5))
    rows = [(steps(iter([stored] * BATCHES)), steps(islice(loader, BATCHES))) for _ in range(ROUNDS)]
    bare, whole = np.median(rows, axis=0)
    ratios = [b / a for a, b in rows]
    print(f"bare step {bare:.0f} images/s, training {whole:.0f} images/s")
    print(f"ratio {np.median(ratios):.2f} (median of {ROUNDS}, {min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
