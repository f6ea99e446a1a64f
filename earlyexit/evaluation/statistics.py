"""Accuracy with its interval."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest


@dataclass(frozen=True)
class Accuracy:
    """Share of right answers and its 95 % Wilson score interval."""

    value: float
    low: float
    high: float
    n: int


def accuracy(predicted: np.ndarray, expected: np.ndarray) -> Accuracy:
    """Compare two label arrays (N,).

    Raises:
        ValueError: they are empty or differ in length.
    """
    if len(predicted) != len(expected) or len(expected) == 0:
        raise ValueError(f"{len(predicted)} predictions for {len(expected)} labels")
    right = int(np.sum(predicted == expected))
    interval = binomtest(right, len(expected)).proportion_ci(0.95, method="wilson")
    return Accuracy(right / len(expected), float(interval.low), float(interval.high), len(expected))


BINS = 15


EDGES = np.linspace(0.5, 1, BINS + 1)


@dataclass(frozen=True)
class Difference:
    """One accuracy minus another on the same images, and its 95 % interval."""

    value: float
    low: float
    high: float


def auroc(margins: np.ndarray, right: np.ndarray) -> float | None:
    """Return the chance that a right answer is surer than a wrong one: the area under the ROC curve of being right.

    The Mann-Whitney statistic over all pairs of a right and a wrong answer, counted in integers; a tie is half a win.

    Args:
        margins: confidence (N,) in any unit that grows with it.
        right: bool (N,).

    Returns:
        0 to 1, 0.5 where confidence says nothing; None where all answers are right or all wrong.
    """
    levels, level = np.unique(margins, return_inverse=True)
    wins = np.bincount(level[right], minlength=len(levels))
    losses = np.bincount(level[~right], minlength=len(levels))
    pairs = int(wins.sum()) * int(losses.sum())
    if pairs == 0:
        return None
    below = np.cumsum(losses) - losses
    return int(np.sum(wins * (2 * below + losses))) / (2 * pairs)


def bin_of(confidence: np.ndarray) -> np.ndarray:
    """Return the bin, 0 to BINS - 1, of each confidence (N,) in [0.5, 1]; an edge belongs to the bin below it."""
    found: np.ndarray = np.searchsorted(EDGES[1:-1], confidence, side="left")
    return found


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Return the expected calibration error, 0 to 1.

    The mean over images of |accuracy - mean confidence| of the image's bin (Guo et al., "On Calibration of Modern
    Neural Networks", ICML 2017, Eq. 3). Of two classes the likelier has at least 0.5, so the bins share [0.5, 1].

    Args:
        confidence: probability (N,) that the answer is right.
        right: bool (N,).
    """
    gaps = np.bincount(bin_of(confidence), right - confidence, BINS)
    return float(np.abs(gaps).sum() / len(right))


def paired_difference(ours: np.ndarray, theirs: np.ndarray, labels: np.ndarray) -> Difference:
    """Return how much more often `ours` is right than `theirs`, on the same images.

    Newcombe's interval for paired proportions (Statistics in Medicine 17, 1998, 2635-2650, method 10): the Wilson
    intervals of both, squared and added, less what the correlation of their errors takes away.

    Args:
        ours, theirs, labels: classes (N,).
    """
    one, two = accuracy(ours, labels), accuracy(theirs, labels)
    phi = _correlation(ours == labels, theirs == labels)
    value = one.value - two.value
    return Difference(
        value,
        low=value - _side(one.value - one.low, two.high - two.value, phi),
        high=value + _side(one.high - one.value, two.value - two.low, phi),
    )


def _correlation(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the phi coefficient of two bool arrays (N,), with Newcombe's continuity correction where positive."""
    n, one, two, both = len(ours), int(ours.sum()), int(theirs.sum()), int((ours & theirs).sum())
    spread = one * (n - one) * two * (n - two)
    excess: float = n * both - one * two
    if excess > 0:
        excess = max(excess - n / 2, 0)
    return excess / math.sqrt(spread) if spread else 0.0


def _side(ours: float, theirs: float, phi: float) -> float:
    return math.sqrt(ours**2 - 2 * phi * ours * theirs + theirs**2)
