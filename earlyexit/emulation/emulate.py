"""Run the segments of a network as C on the emulated Cortex-M4 and check every answer."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earlyexit.emulation import library
from earlyexit.emulation.compiler import build
from earlyexit.emulation.emulator import REFILL
from earlyexit.emulation.image import Image
from earlyexit.emulation.library import Trace
from earlyexit.firmware import emit, source
from earlyexit.policy.policies import Policy
from earlyexit.policy.search import NEVER
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
    network: Deployment,
    images: NDArray[np.int8],
    memory: tuple[int, int] = ROOMY,
    refill: int = REFILL,
) -> Emulated:
    """Generate and compile the C library of `network`, run its segments on images and check all their answers.

    The library's exit policy never leaves early: costs are known before policies, which are chosen by costs.

    Args:
        network: INT8 segments.
        images: INT8 (N, H, W, 3).
        memory: bytes of flash and RAM that the device has.
        refill: cycles of a pipeline refill after a taken branch.

    Raises:
        ValueError: the image does not fit into the memory, an instruction has no known timing, or an answer is wrong
            (see `check`).
    """
    flash, ram = memory
    never = Policy(name="never", thresholds=[NEVER] * (len(network.names) - 1))
    image = build(source.generate(network, never), flash=flash, ram=ram)
    layers = [layer for segment in source.read(network.models) for layer in segment.layers]
    kernels = sorted({name for layer in layers for name in emit.calls(layer)})
    trace = library.run(image, images, features_bytes(network), kernels, refill)
    check(network, images, trace)
    return Emulated(network, image, trace)


def evenly_spread(count: int, images: int) -> NDArray[np.int64]:
    """Return the numbers of `count` of so many images, ascending and evenly spread; of all where there are fewer."""
    return np.linspace(0, images - 1, min(count, images)).round().astype(np.int64)


def features_bytes(network: Deployment) -> list[int]:
    """Return the bytes of the features of each segment but the last."""
    return [prod(segment.features_shape or ()) for segment in network.segments()[:-1]]


def check(network: Deployment, images: NDArray[np.int8], trace: Trace) -> None:
    """Compare logits and features with TFLM's and with LiteRT's reference kernels'.

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


def _compare(found: NDArray[Any], expected: NDArray[Any], what: str, whose: str) -> None:
    differs = (found.reshape(len(found), -1) != expected.reshape(len(expected), -1)).any(1)
    if differs.any():
        raise ValueError(
            f"{what}: the firmware's differ from {whose} for {int(differs.sum())} of {len(found)} images, "
            f"first for number {int(differs.argmax())}"
        )
