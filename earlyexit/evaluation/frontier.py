"""Accuracy and speed of the cascade for a set of thresholds, and over all percentiles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from earlyexit.evaluation.costs import Costs, speedups
from earlyexit.evaluation.per_image import Evaluation
from earlyexit.evaluation.statistics import Accuracy, accuracy
from earlyexit.policy import decision
from earlyexit.policy.thresholds import Thresholds


@dataclass(frozen=True)
class Point:
    """The cascade with one exit policy on the val split.

    Attributes:
        accuracy: of the cascade.
        exit_share: share of images that leave at each classifier, the final one last.
    """

    accuracy: Accuracy
    exit_share: list[float]

    @property
    def early_exit_rate(self) -> float:
        """Share of images that leave before the final classifier."""
        return 1 - self.exit_share[-1]


def point(logits: np.ndarray, labels: np.ndarray, thresholds: Sequence[int], patience: int = 0) -> Point:
    """Return the accuracy and the exits of the cascade with one exit policy.

    Args:
        logits: INT8 (classifiers, N, 2).
        labels: (N,).
        thresholds, patience: as `decision.decide` takes them.
    """
    decisions = decision.decide(logits, thresholds, patience)
    return Point(accuracy(decisions.labels, labels), decision.exit_shares(decisions.exits, len(logits)))


def curve(evaluation: Evaluation, thresholds: Thresholds, costs: Mapping[str, Costs]) -> list[dict[str, Any]]:
    """Return accuracy and speed of the cascade on val at each percentile.

    Args:
        evaluation: logits on the val split.
        thresholds: from the calibration split.
        costs: in each unit.

    Returns:
        rows 0..100; percentile, accuracy, accuracy_low and accuracy_high (95 %), early_exit_rate, and for each unit
        the speedup, "speedup_macs" and so on; the measured one from the measured time of each segment.
    """
    rows = []
    for percentile, margins in enumerate(thresholds.margins):
        found = point(evaluation.int8_early_exit, evaluation.labels, margins)
        rows.append(
            {
                "percentile": percentile,
                "accuracy": found.accuracy.value,
                "accuracy_low": found.accuracy.low,
                "accuracy_high": found.accuracy.high,
                "early_exit_rate": found.early_exit_rate,
                **speedups(costs, found.exit_share),
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
