"""Time of an epoch of quantization-aware training, against the same epoch of joint training.

    python -m benchmarks.qat [LEAF=VALUE...]        needs data/packed (dvc repro prepare)

Both run in turn, so that other load on the machine slows both; compare the ratio.
"""

import copy
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from earlyexit.dataset import PackedSplit, open_split
from earlyexit.model.inference import prepare_torch
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.params import load, overridden
from earlyexit.training.trainers import Session, train_jointly, train_quantized

BATCHES, ROUNDS = 20, 5


def main() -> None:
    """Print seconds of both, and their ratio."""
    params = overridden(load(), sys.argv[1:])
    weights, joint = params.weight_format(), params.joint.model_copy(update={"epochs": 1})
    qat = params.qat.model_copy(update={"epochs": 1, "batch_size": joint.batch_size})
    device = prepare_torch(params.train.seed, params.train.threads, params.train.device)
    network = EarlyExitNetwork(params.architecture())
    losses = joint.loss_weights(len(network.exits))
    split = open_split("data/packed", "train")
    count = min(BATCHES * joint.batch_size, len(split))
    some, few = (PackedSplit(split.images[:n], split.labels[:n], split.ids[:n]) for n in (count, 2))
    session = Session(some, few, params.augment, device, lambda epoch, metrics: None, params.train.precision)

    def jointly() -> None:
        train_jointly(copy.deepcopy(network), joint, session)

    def rounding() -> None:
        folded = copy.deepcopy(network).fold()
        train_quantized(folded, qat, losses, session, bits=weights.bits, per_channel=weights.per_channel)

    def seconds(work: Callable[[], None]) -> float:
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    seconds(jointly)
    rows = [(seconds(jointly), seconds(rounding)) for _ in range(ROUNDS)]
    middle, ratios = np.median(rows, axis=0), [b / a for a, b in rows]
    print(f"{count} images, {weights.bits} bits: joint {middle[0]:.1f} s, qat {middle[1]:.1f} s")
    print(f"ratio {np.median(ratios):.2f} (median of {ROUNDS}, {min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
