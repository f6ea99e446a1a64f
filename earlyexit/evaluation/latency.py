"""Measure the time per image of the INT8 baseline and of the cascade, in turn, in one process, one thread, batch 1."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
from tqdm import tqdm

from earlyexit.policy.cascade import Cascade, Outcome
from earlyexit.tflite.segment import Segment, run_in_turn

WARM_UP = 50


@dataclass(frozen=True)
class Latency:
    """Mean microseconds per image.

    Attributes:
        baseline: of the whole baseline.
        segments: of each segment, on every image.
        cascades: of the whole cascade, for each set of thresholds.
        outcomes: the decision of each cascade on each image.
        spread: (largest - smallest) / median of the baseline over the passes, a measure of the machine's noise.
    """

    baseline: float
    segments: list[float]
    cascades: list[float]
    outcomes: list[list[Outcome]]
    spread: float


def measure(
    baseline: Segment, segments: Sequence[Segment], cascades: Sequence[Cascade], images: np.ndarray, passes: int
) -> Latency:
    """Time the baseline, each segment and each cascade on every image in turn.

    A time covers what a user's loop does: copy the input in, run, copy the output out, decide. They take turns at every
    image, so a change of clock or load affects all of them. Each result is the median over the passes of the mean over
    the images.

    Args:
        baseline: the INT8 network without exits.
        segments: of the early-exit network, in order.
        cascades: of these segments.
        images: INT8 (N, H, W, 3).
        passes: over all images.
    """
    for image in images[:WARM_UP]:
        baseline(image)
        _time_segments(segments, image)
    rows = []
    outcomes: list[list[Outcome]] = [[] for _ in cascades]
    for number in tqdm(range(passes), desc="benchmark", unit="pass"):
        total = np.zeros(1 + len(segments) + len(cascades))
        for image in images:
            start = perf_counter_ns()
            baseline(image)
            times = [perf_counter_ns() - start, *_time_segments(segments, image)]
            for index, cascade in enumerate(cascades):
                start = perf_counter_ns()
                outcome = cascade(image)
                times.append(perf_counter_ns() - start)
                if number == 0:
                    outcomes[index].append(outcome)
            total += times
        rows.append(total / len(images) / 1000)
    median = np.median(rows, axis=0).tolist()
    base = np.array(rows)[:, 0]
    spread = float((base.max() - base.min()) / np.median(base))
    count = len(segments)
    return Latency(median[0], median[1 : 1 + count], median[1 + count :], outcomes, spread)


def machine() -> dict[str, Any]:
    """Return the processor, the system and the versions that a measured time depends on."""
    return {
        "processor": _processor(),
        "system": platform.system(),
        "python": platform.python_version(),
        "ai-edge-litert": version("ai-edge-litert"),
        "kernels": "XNNPACK (LiteRT's default), 1 thread, batch 1",
    }


def check_outcomes(outcomes: Sequence[Outcome], exits: np.ndarray, labels: np.ndarray, name: str) -> None:
    """Compare the cascade's decisions with those computed from the logits of the evaluation.

    Raises:
        ValueError: a decision differs; names the position of the image and both decisions. Or their numbers differ.
    """
    if len(outcomes) != len(exits):
        raise ValueError(f"{name}: {len(outcomes)} images in the cascade, {len(exits)} in the evaluation")
    for index, outcome in enumerate(outcomes):
        if (outcome.exit, outcome.label) != (exits[index], labels[index]):
            raise ValueError(
                f"{name}: image {index} of val leaves at exit {outcome.exit + 1} with label {outcome.label} in the "
                f"cascade, but at exit {exits[index] + 1} with label {labels[index]} in the evaluation; "
                "rerun the evaluate stage on this machine"
            )


def _time_segments(segments: Sequence[Segment], image: np.ndarray) -> list[int]:
    times = []
    running = run_in_turn(segments, image)
    for _ in segments:
        start = perf_counter_ns()
        next(running)
        times.append(perf_counter_ns() - start)
    return times


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
