"""Accuracy and speed of the cascade for a set of thresholds, and over all percentiles."""

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
    """The cascade with one set of thresholds on the val split.

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
    logits: np.ndarray, labels: np.ndarray, thresholds: list[int], macs: Sequence[int], times: Sequence[float]
) -> Point:
    """Return the accuracy and the cost of the cascade with one set of thresholds.

    Args:
        logits: INT8 (classifiers, N, 2).
        labels: (N,).
        thresholds: an integer margin for each early exit.
        macs, times: multiply-accumulates and microseconds of each segment.
    """
    decisions = decision.decide(logits, thresholds)
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
    """Return accuracy and speed of the cascade on val at each percentile.

    Args:
        evaluation: logits on the val split.
        thresholds: from the calibration split.
        macs: of each segment of the early-exit network.
        baseline_macs: of the network without exits.
        latency: the report of the benchmark stage.

    Returns:
        rows 0..100; percentile, accuracy, accuracy_low and accuracy_high (95 %), early_exit_rate, speedup_macs,
        speedup_measured (from the measured time of each segment).
    """
    times = list(latency["segments"].values())
    rows = []
    for percentile, margins in enumerate(thresholds.margins):
        found = point(evaluation.int8_early_exit, evaluation.labels, margins, macs, times)
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
    """Return the fastest row of `curve` whose accuracy is at least `accuracy` - `loss`; None if there is none.

    The choice uses val, so it describes the curve and selects nothing: a percentile for use needs the calibration
    split.
    """
    # Accuracy is a share of images; a difference of decimals may be off in the last bit.
    near = [row for row in rows if row["accuracy"] >= accuracy - loss - 1e-9]
    return max(near, key=lambda row: row["speedup_measured"], default=None)
