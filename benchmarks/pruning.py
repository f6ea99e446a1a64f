"""What exact pruning saves, and what it changes: a network of given weights before and after, FP32 and INT8.

    python -m benchmarks.pruning model.backbone=mobilenet_v1 baseline.pretrained=FILE     needs data/packed

The arguments change params.yaml as `dvc exp run -S` does. The weights are used as they are, without training. Times are
measured in turn, so that other load on the machine slows both networks; compare the ratio.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from earlyexit.budget import limits
from earlyexit.common.markdown import percent, table, thousands
from earlyexit.dataset import PackedSplit, balanced_up_to, open_split
from earlyexit.emulation import emulate, report
from earlyexit.evaluation import latency
from earlyexit.evaluation.statistics import accuracy
from earlyexit.model.inference import predict, prepare_torch
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.model.pretrained import pretrained
from earlyexit.params import Params, load, overridden
from earlyexit.policy import decision
from earlyexit.pruning.exact import prune
from earlyexit.quantization.deploy import deploy_network
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.segment import all_logits
from stages import run

PACKED = "data/packed"
COMPARED = 1000  # calibration images whose FP32 logits are compared
EMULATED = 3  # images on the emulated Cortex-M4, whose costs hardly depend on the image
PASSES = 3  # over the val images, timed


@dataclass(frozen=True)
class Agreement:
    """FP32 logits of two networks on the same images.

    Attributes:
        images: their number.
        equal: images whose logits are the same in every bit.
        same_label: images with the same answer.
        largest: absolute difference of two logits.
    """

    images: int
    equal: int
    same_label: int
    largest: float


def main() -> None:
    """Print how long pruning takes, how far FP32 logits agree, and a table of the INT8 networks.

    Raises:
        ValueError: `baseline.pretrained` is null, or pruning removes nothing.
    """
    params = overridden(load(), sys.argv[1:])
    prepare_torch(params.train.seed, params.train.threads, "cpu")
    before = given(params)
    start = time.perf_counter()
    after, groups = prune(before, params.prune.multiple)
    seconds = time.perf_counter() - start
    if after is before:
        raise ValueError(f"{params.baseline.pretrained}: no channel has one value for every image; nothing to compare")
    calibration, val = open_split(PACKED, "calibration"), open_split(PACKED, "val")
    found = agreement(before, after, calibration.images[:COMPARED])
    print(f"{sum(group.removed for group in groups):,} channels removed in {seconds:.2f} s")
    print(f"FP32 on {found.images:,} calibration images: logits of {found.equal:,} equal in every bit;")
    print(f"largest difference of two logits {found.largest:.2g}; the same answer for {found.same_label:,}\n")
    images = calibration.images[balanced_up_to(calibration.labels, params.ptq.images, seed=0)]
    whole, pruned = (
        deploy_network(one, images, params.ptq.quantizer, params.ptq.weights, params.ptq.ranges)
        for one in (before, after)
    )
    rows = [*costs(whole, pruned, calibration, params.emulate.refill), *speed(whole, pruned, val)]
    rows += [right(name, whole, pruned, split) for name, split in (("calibration", calibration), ("val", val))]
    print("\n".join(table(["INT8", "before", "after", "before / after"], rows)))


def given(params: Params) -> EarlyExitNetwork:
    """Return the network without exits with the weights of `baseline.pretrained`, as the baseline stage loads them.

    Raises:
        ValueError: there is no such file, or it does not fit.
    """
    if params.baseline.pretrained is None:
        raise ValueError("baseline.pretrained: null; give a safetensors file of trained weights")
    images = open_split(PACKED, "train").images
    return pretrained(params.baseline_architecture(), Path(params.baseline.pretrained), images, torch.device("cpu"))


def agreement(before: EarlyExitNetwork, after: EarlyExitNetwork, images: np.ndarray) -> Agreement:
    """Compare the FP32 logits of two networks without exits on `images`, uint8 (N, H, W, 3)."""
    (one,), (two,) = (predict(network, images, torch.device("cpu")) for network in (before, after))
    return Agreement(
        images=len(images),
        equal=int((one == two).all(1).sum()),
        same_label=int((one.argmax(1) == two.argmax(1)).sum()),
        largest=float(np.abs(one - two).max()),
    )


def costs(before: Deployment, after: Deployment, split: PackedSplit, refill: int) -> list[list[str]]:
    """Return rows of multiply-accumulates, memory and the emulated Cortex-M4's instructions and cycles."""
    found = []
    for network in (before, after):
        (footprint,) = limits.measure_all(network.names, network.models)
        ran = emulate.emulate(network, network.quantize(split.images[:EMULATED]), refill=refill)
        whole, memory = report.whole(ran), report.memory(ran)
        found.append(
            {
                "multiply-accumulates": sum(network.macs),
                **{f"Cortex-M4, {kind}": whole[kind] for kind in ("instructions", "cycles")},
                "flash of the .tflite file": footprint.flash,
                "SRAM with TFLM": footprint.sram,
                "flash of the C library": memory["flash"]["total"],
                "RAM of the C library": memory["ram"]["total"],
            }
        )
    one, two = found
    return [[name, thousands(one[name]), thousands(two[name]), f"{one[name] / two[name]:.2f}"] for name in one]


def speed(before: Deployment, after: Deployment, split: PackedSplit) -> list[list[str]]:
    """Return a row of microseconds per image on this machine, measured in turn."""
    images = before.quantize(split.images)
    timed = latency.measure(before.segments()[0], after.segments(), [], images, PASSES)
    one, two = timed.baseline, timed.segments[0]
    return [["microseconds on this machine", f"{one:.1f}", f"{two:.1f}", f"{one / two:.2f}"]]


def right(name: str, before: Deployment, after: Deployment, split: PackedSplit) -> list[str]:
    """Return a row of accuracies."""
    values = []
    for network in (before, after):
        logits = all_logits(network.segments(), network.quantize(split.images), f"INT8 on {name}")
        values.append(accuracy(decision.labels(logits[0]), split.labels).value)
    return [f"right on {len(split):,} {name} images (%)", *map(percent, values), ""]


if __name__ == "__main__":
    run(main)
