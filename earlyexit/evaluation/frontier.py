"""Accuracy against speed over all percentiles: what a cascade gives at a set of thresholds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from earlyexit.evaluation.per_image import Evaluation
from earlyexit.evaluation.statistics import Accuracy, accuracy
from earlyexit.policy import decision
from earlyexit.policy.thresholds import Thresholds


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
    decisions = decision.decide(logits, limits)
    shares = decision.exit_shares(decisions.exits, len(logits))
    return Point(
        accuracy=accuracy(decisions.labels, labels),
        exit_share=shares,
        mean_macs=float(np.dot(shares, np.cumsum(macs))),
        mean_time=float(np.dot(shares, np.cumsum(times))),
    )


def curve(
    evaluation: Evaluation, thresholds: Thresholds, macs: Sequence[int], baseline_macs: int, latency: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return what the cascade gives on val at each percentile.

    Args:
        evaluation: logits on the val split.
        thresholds: from the calibration split.
        macs: of each segment of the early-exit network.
        baseline_macs: of the network without exits.
        latency: what the benchmark stage measured.

    Returns:
        rows 0..100; percentile, accuracy, accuracy_low and accuracy_high (95 %), early_exit_rate, speedup_macs,
        speedup_measured (from the measured time of each segment).
    """
    times = list(latency["segments"].values())
    rows = []
    for percentile, limits in enumerate(thresholds.margins):
        found = point(evaluation.int8_early_exit, evaluation.labels, limits, macs, times)
        rows.append(
            {
                "percentile": percentile,
                "accuracy": found.accuracy.value,
                "accuracy_low": found.accuracy.low,
                "accuracy_high": found.accuracy.high,
                "early_exit_rate": found.early_exit_rate,
                "speedup_macs": baseline_macs / found.mean_macs,
                "speedup_measured": latency["baseline"] / found.mean_time,
            }
        )
    return rows


def fastest_within(rows: Sequence[dict[str, Any]], accuracy: float, loss: float) -> dict[str, Any] | None:
    """Return the row of `curve` with the largest measured speedup whose accuracy is at most `loss` below `accuracy`.

    Chosen on val, so it describes the curve; a percentile to deploy is chosen on the calibration split. None if every
    row falls below.
    """
    # Shares of whole images differ from sums of decimals in the last bit.
    near = [row for row in rows if row["accuracy"] >= accuracy - loss - 1e-9]
    return max(near, key=lambda row: row["speedup_measured"], default=None)
