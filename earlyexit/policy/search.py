"""Search thresholds of all exits together: the best trades between what a cascade costs and what it gets wrong."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

NEVER = 255
"""A threshold that no margin exceeds."""
EXACT = 3
"""Early exits up to which the search looks at every set of thresholds."""
_RESTARTS = 8


@dataclass(frozen=True)
class Choice:
    """A set of thresholds, and what it does on the images that it was searched on.

    Attributes:
        thresholds: an integer margin for each early exit; an image leaves where its margin is greater.
        penalty: sum over the images of the penalty of the classifier that decides.
        cost: mean cost of an image.
    """

    thresholds: list[int]
    penalty: int
    cost: float


def accuracy_penalty(answers: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return for each classifier and image 1 where it is wrong and the final classifier right, -1 the other way round.

    The sum is the number of right answers that a cascade loses against the whole network.

    Args:
        answers: classes (classifiers, N), the final classifier's last.
        truth: labels (N,).
    """
    right = (answers == truth).astype(np.int64)
    penalty: np.ndarray = right[-1] - right
    return penalty


def risk_penalty(answers: np.ndarray, truth: np.ndarray | None) -> np.ndarray:
    """Return for each classifier and image 1 where it is wrong and the final classifier right, else 0.

    Args:
        answers: classes (classifiers, N), the final classifier's last.
        truth: labels (N,); None: the final classifier's answers stand for them.
    """
    expected = answers[-1] if truth is None else truth
    penalty: np.ndarray = ((answers != expected) & (answers[-1] == expected)).astype(np.int64)
    return penalty


def pareto_path(margins: np.ndarray, penalty: np.ndarray, costs: Sequence[float]) -> list[Choice]:
    """Return the sets of thresholds of which no other has less cost and no more penalty.

    Up to `EXACT` early exits every set is looked at. Margins are integers, so a set is a cell of a histogram of all
    exits' margins, and the sums of all sets come from cumulative sums over it. With more exits the thresholds are
    improved three at a time, from several starts, so the path may miss some sets.

    Args:
        margins: integers 0 to 255, (early exits, N).
        penalty: integers (classifiers, N), of each classifier if it decides; the final classifier's is 0.
        costs: of an image that leaves at each classifier.

    Returns:
        choices in order, each with less cost and more penalty than the one before it. Equal ones: the one with the
        higher thresholds. A threshold that no image of these exceeds is `NEVER`.

    Raises:
        ValueError: there are no images, or the shapes do not fit together.
    """
    exits, n = margins.shape
    if n == 0:
        raise ValueError("the search for thresholds needs calibration images, and there are none")
    if penalty.shape != (exits + 1, n) or len(costs) != exits + 1 or penalty[-1].any():
        raise ValueError(f"{exits} early exits need penalties and costs of {exits + 1} classifiers, the final one's 0")
    if exits <= EXACT:
        return _exact(margins, penalty, costs)
    return _improved(margins, penalty, costs)


def within(path: Sequence[Choice], penalty: float) -> Choice:
    """Return the cheapest choice of a path whose penalty is at most `penalty`.

    Raises:
        ValueError: there is none.
    """
    fits = [choice for choice in path if choice.penalty <= penalty]
    if not fits:
        raise ValueError(f"no set of thresholds has a penalty of at most {penalty}")
    return fits[-1]
