"""Run the C library of a network on the emulated Cortex-M4 and check every answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earlyexit.emulation import emulator
from earlyexit.emulation.compiler import build
from earlyexit.emulation.emulator import Trace
from earlyexit.emulation.image import Image
from earlyexit.firmware import emit
from earlyexit.policy import decision
from earlyexit.tflite import arena
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.reader import logits_and_features

ROOMY = (1 << 21, 1 << 19)
"""Bytes of flash and RAM that are enough for any network, also for one that is compared and not deployed."""


@dataclass(frozen=True)
class Emulated:
    """A network, its linked image, and the trace of its run on the emulator."""

    network: Deployment
    image: Image
    trace: Trace


def emulate(
    network: Deployment, library: Mapping[str, str], images: NDArray[np.int8], memory: tuple[int, int] = ROOMY
) -> Emulated:
    """Compile the C library of `network`, run it on images and check all its answers.

    Args:
        network: the segments that the library was generated from.
        library: text of the library's files, by name.
        images: INT8 (N, H, W, 3).
        memory: bytes of flash and RAM that the device has.

    Raises:
        ValueError: the image does not fit into the memory; or an answer is wrong, as `check`.
    """
    flash, ram = memory
    image = build(library, flash=flash, ram=ram)
    kernels = sorted(set(emit.KERNELS.values()) & image.symbols.keys())  # kernels without a caller are not linked
    trace = emulator.run(image, images, features_bytes(network), kernels)
    check(network, images, trace)
    return Emulated(network, image, trace)


def features_bytes(network: Deployment) -> list[int]:
    """Return the bytes of the features of each segment but the last."""
    return [prod(segment.features_shape or ()) for segment in network.segments()[:-1]]


def check(network: Deployment, images: NDArray[np.int8], trace: Trace) -> None:
    """Compare logits and features with TFLM's and with LiteRT's reference kernels', decisions with the exit policy.

    Logits are compared with TFLM's alone: LiteRT rounds a fully connected layer with a scale for each output in another
    way, so its logits may differ by one step.

    Raises:
        ValueError: an answer differs; names the segment and the first such image.
    """
    inputs: NDArray[Any] = images
    for number, (model, segment) in enumerate(zip(network.models, network.segments(reference=True), strict=True)):
        logits, features = logits_and_features(arena.run(model, inputs))
        _compare(trace.logits[number], logits, f"logits of {network.names[number]}", "TFLM")
        if features is None:
            break
        what = f"features behind {network.names[number]}"
        _compare(trace.features[number], features, what, "TFLM")
        _compare(trace.features[number], np.array([segment(x)[1] for x in inputs]), what, "LiteRT")
        inputs = features
    decisions = decision.decide(trace.logits, trace.thresholds)
    found = np.array([(outcome.exit, outcome.label) for outcome in trace.outcomes])
    _compare(found, np.stack([decisions.exits, decisions.labels], 1), "exit and label", "the exit policy")


def _compare(found: NDArray[Any], expected: NDArray[Any], what: str, whose: str) -> None:
    differs = (found.reshape(len(found), -1) != expected.reshape(len(expected), -1)).any(1)
    if differs.any():
        raise ValueError(
            f"{what}: the firmware's differ from {whose} for {int(differs.sum())} of {len(found)} images, "
            f"first for number {int(differs.argmax())}"
        )
