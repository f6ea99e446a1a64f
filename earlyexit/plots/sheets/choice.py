"""Choose the val images that a sheet or page shows of each exit. It loads no library that draws."""

import numpy as np

from earlyexit.evaluation.per_image import Evaluation
from earlyexit.policy import decision

RIGHT = 7
WRONG = 3
"""Right and wrong answers of each classifier, at most."""


def spread(rows: np.ndarray, margins: np.ndarray, count: int) -> np.ndarray:
    """Return `count` of `rows`, evenly spaced from the largest margin to the smallest; all if there are fewer.

    Args:
        rows: numbers of images, (N,).
        margins: of the images, (N,).
        count: at least 1.
    """
    ordered = rows[np.argsort(-margins, kind="stable")]
    if len(ordered) <= count:
        return ordered
    return ordered[((np.arange(count) + 0.5) * len(ordered) / count).astype(np.int64)]


def choose(evaluation: Evaluation, decisions: decision.Decisions) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return, for each classifier, the rows of right and of wrong answers to show."""
    right = decisions.labels == evaluation.labels
    chosen = []
    for number, logits in enumerate(evaluation.int8_early_exit):
        leaves = decisions.exits == number
        margins = decision.margins(logits)
        pair = [np.flatnonzero(leaves & wanted) for wanted in (right, ~right)]
        chosen.append((spread(pair[0], margins[pair[0]], RIGHT), spread(pair[1], margins[pair[1]], WRONG)))
    return chosen
