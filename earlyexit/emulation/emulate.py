"""What the firmware costs on an emulated Cortex-M4, exit by exit, against the INT8 baseline compiled the same way."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earlyexit.emulation import emulator
from earlyexit.emulation.compiler import Image, build
from earlyexit.emulation.emulator import Trace
from earlyexit.policy import decision
from earlyexit.tflite import arena
from earlyexit.tflite.deployment import Deployment

KERNELS = ("ee_convolution", "ee_pointwise", "ee_depthwise", "ee_add", "ee_mean")
ROOMY = (1 << 21, 1 << 19)  # bytes of flash and RAM; the baseline is compared with, not deployed: it need not fit


@dataclass(frozen=True)
class Emulated:
    """A network on the emulator: what is deployed, its image, and what it did; checked against TFLM and LiteRT."""

    network: Deployment
    image: Image
    trace: Trace


def emulate(
    network: Deployment, library: Mapping[str, str], images: NDArray[np.int8], memory: tuple[int, int] | None = None
) -> Emulated:
    """Compile the C `library` of `network`, run it on INT8 images (N, H, W, 3) and compare all its answers.

    Args:
        network: the segments that the library was generated from.
        library: the text of ee.h, ee_network.c, ee_kernels.h and ee_kernels.c by name.
        images: INT8 (N, H, W, 3).
        memory: bytes of flash and RAM that the device has; None: as much as it takes.

    Raises:
        FileNotFoundError: the compiler or the emulator is missing.
        ValueError: the image does not fit; or an answer differs: which segment's, and for which image.
    """
    flash, ram = memory or ROOMY
    image = build(library, flash=flash, ram=ram)
    kernels = [name for name in KERNELS if name in image.layout.symbols]  # what is not called is not linked
    trace = emulator.run(image, images, handed_on(network), kernels)
    check(network, images, trace)
    return Emulated(network, image, trace)


def handed_on(network: Deployment) -> list[int]:
    """Return the bytes of features that each segment but the last hands to the next."""
    return [prod(segment.features_shape or ()) for segment in network.segments()[:-1]]


def check(network: Deployment, images: NDArray[np.int8], trace: Trace) -> None:
    """Compare logits and features with TFLM's and with LiteRT's reference kernels', decisions with the exit policy.

    LiteRT's own fully connected layer with a scale for each output may differ from TFLM's by one step of the logits;
    there TFLM's counts.

    Raises:
        ValueError: naming the segment and the image at which an answer differs.
    """
    inputs: NDArray[Any] = images
    for number, (model, segment) in enumerate(zip(network.models, network.segments(reference=True), strict=True)):
        answers = sorted(arena.run(model, inputs), key=np.ndim)
        _same(trace.logits[number], answers[0], f"logits of {network.names[number]}", "TFLM")
        if len(answers) == 1:
            break
        _same(trace.features[number], answers[1], f"features behind {network.names[number]}", "TFLM")
        theirs = np.array([segment(x)[1] for x in inputs])
        _same(trace.features[number], theirs, f"features behind {network.names[number]}", "LiteRT")
        inputs = answers[1]
    decisions = decision.decide(trace.logits, trace.thresholds)
    found = np.array([(outcome.exit, outcome.label) for outcome in trace.outcomes])
    _same(found, np.stack([decisions.exits, decisions.labels], 1), "exit and label", "the exit policy")


def _same(ours: NDArray[Any], theirs: NDArray[Any], what: str, whose: str) -> None:
    differs = (ours.reshape(len(ours), -1) != theirs.reshape(len(theirs), -1)).any(1)
    if differs.any():
        raise ValueError(
            f"{what}: the firmware's differ from {whose} for {int(differs.sum())} of {len(ours)} images, "
            f"first for number {int(differs.argmax())}"
        )
