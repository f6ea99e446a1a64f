"""Accuracy against speed over all percentiles: what a cascade gives at a set of thresholds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from earlyexit import policy
from earlyexit.statistics import Accuracy, accuracy


@dataclass(frozen=True)
class Point:
    """One set of thresholds on the val split.

    Attributes:
        accuracy: of the cascade.
        exit_share: share of images that leave at each classifier, the final one last.
        mean_macs: multiply-accumulates per image.
        mean_time: microseconds per image, from the measured time of each segment.
    """

    accuracy: Accuracy
    exit_share: list[float]
    mean_macs: float
    mean_time: float

    @property
    def early_exit_rate(self) -> float:
        """Share of images that leave before the final classifier."""
        return 1 - self.exit_share[-1]


def point(
    logits: np.ndarray, labels: np.ndarray, limits: list[int], macs: Sequence[int], times: Sequence[float]
) -> Point:
    """Apply one set of thresholds.

    Args:
        logits: INT8 (classifiers, N, 2).
        labels: (N,).
        limits: integer margins, one an early exit.
        macs, times: of each segment.
    """
    decisions = policy.decide(logits, limits)
    shares = policy.exit_shares(decisions.exits, len(logits))
    return Point(
        accuracy=accuracy(decisions.labels, labels),
        exit_share=shares,
        mean_macs=float(np.dot(shares, np.cumsum(macs))),
        mean_time=float(np.dot(shares, np.cumsum(times))),
    )
