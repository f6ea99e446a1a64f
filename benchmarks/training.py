"""Training throughput: the loop of the training stages, and bare forward, backward and update on one stored batch.

    python -m benchmarks.training            needs data/packed (dvc repro prepare)

Both run in turn, so that other load on the machine slows both; compare the ratio.
"""

import time
from collections.abc import Callable

import numpy as np
import torch

from earlyexit.dataset import PackedSplit, open_split
from earlyexit.model.inference import prepare_torch
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.params import load
from earlyexit.training.augment import Augmentation
from earlyexit.training.batches import ImageBatches
from earlyexit.training.loop import autocast, fit
from earlyexit.training.losses import weighted_loss

BATCHES, ROUNDS = 20, 7


def main() -> None:
    """Print images per second of both, and their ratio."""
    params = load()
    train, settings = params.train, params.baseline
    device = prepare_torch(train.seed, train.threads, train.device)
    network = EarlyExitNetwork(params.baseline_architecture()).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, fused=True)
    scaler = torch.amp.GradScaler("cuda", enabled=train.precision == "float16")
    augmentation = Augmentation(params.data.resolution, params.augment)
    split = open_split("data/packed", "train")
    count = min(BATCHES * settings.batch_size, len(split))
    some = PackedSplit(split.images[:count], split.labels[:count], split.ids[:count])
    batches = ImageBatches(some, network, settings.batch_size, device, augmentation)
    x, labels, *_ = next(batches.epoch(1))
    recipe = settings.model_copy(update={"epochs": 1})

    def bare() -> None:
        for _ in range(len(batches)):
            optimizer.zero_grad()
            with autocast(train.precision, device):
                loss = weighted_loss(network(x), labels, [1.0])
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            scaler.step(optimizer)
            scaler.update()

    def whole() -> None:
        fit(
            network,
            batches,
            recipe,
            [1.0],
            names=["final"],
            monitor=dict,
            log=lambda epoch, metrics: None,
            title="baseline",
            device=device,
            precision=train.precision,
        )

    def rate(work: Callable[[], None]) -> float:
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return count / (time.perf_counter() - start)

    bare()
    rows = [(rate(bare), rate(whole)) for _ in range(ROUNDS)]
    middle = np.median(rows, axis=0)
    ratios = [b / a for a, b in rows]
    print(f"bare step {middle[0]:.0f} images/s, training {middle[1]:.0f} images/s")
    print(f"ratio {np.median(ratios):.2f} (median of {ROUNDS}, {min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
