"""What an image costs that leaves at each exit: multiply-accumulates, measured time, estimated cycles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Costs:
    """Costs of both networks in one unit.

    Attributes:
        baseline: of an image in the network without exits.
        until: of an image that leaves at each classifier, the final one last.
    """

    baseline: float
    until: list[float]

    def mean(self, shares: Sequence[float]) -> float:
        """Return the mean cost of an image, given the share of images that leaves at each classifier."""
        return float(np.dot(shares, self.until))

    def speedup(self, shares: Sequence[float]) -> float:
        """Return the cost of the baseline divided by the mean cost of an image."""
        return self.baseline / self.mean(shares)


def speedups(costs: Mapping[str, Costs], shares: Sequence[float]) -> dict[str, float]:
    """Return the speedup in each unit, as "speedup_macs" and so on, given the share of images at each classifier."""
    return {f"speedup_{unit}": cost.speedup(shares) for unit, cost in costs.items()}


def macs(segments: Sequence[int], baseline: int) -> Costs:
    """Return multiply-accumulates, from those of each segment."""
    return Costs(baseline, list(accumulate(segments)))


def measured(latency: Mapping[str, Any]) -> Costs:
    """Return microseconds, from the report of the benchmark stage."""
    return Costs(latency["baseline"], list(accumulate(latency["segments"].values())))


def emulated(report: Mapping[str, Any]) -> Costs:
    """Return estimated cycles of a Cortex-M4, from the report of the emulate stage."""
    return Costs(report["baseline"]["cycles"], [entry["cycles_until"] for entry in report["segments"].values()])
