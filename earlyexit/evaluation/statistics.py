"""Statistics of classifiers with their intervals: accuracy, paired difference, AUROC, calibration error."""

import math
from dataclasses import dataclass

import numpy as np

BINS = 15
"""Bins of confidence of the calibration error."""
EDGES = np.linspace(0.5, 1, BINS + 1)
"""Edges of the bins: the likelier of two classes has a probability of at least 0.5."""

_Z = 1.959963984540054
"""97.5th percentile of the normal distribution: 95 % lie within it on both sides."""


@dataclass(frozen=True)
class Accuracy:
    """A share of `n` images, those with a right answer unless said otherwise, and its 95 % Wilson score interval."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Difference:
    """One accuracy minus another on the same images, and its 95 % interval."""

    value: float
    low: float
    high: float


def accuracy(predicted: np.ndarray, expected: np.ndarray) -> Accuracy:
    """Compare two label arrays (N,).

    Raises:
        ValueError: they are empty or differ in length.
    """
    if len(predicted) != len(expected) or len(expected) == 0:
        raise ValueError(f"{len(predicted)} predictions for {len(expected)} labels")
    return share(predicted == expected)


def share(found: np.ndarray) -> Accuracy:
    """Return the share of true values in a bool array (N,), not empty."""
    count, n = int(np.sum(found)), len(found)
    value = count / n
    # As scipy.stats has it, which takes too long to load for the many stages that report an interval.
    scale = 2 * (n + _Z**2)
    centre = (2 * n * value + _Z**2) / scale
    half = _Z / scale * math.sqrt(4 * n * value * (1 - value) + _Z**2)
    return Accuracy(value, centre - half if count else 0.0, centre + half if count < n else 1.0, n)


def paired_difference(ours: np.ndarray, theirs: np.ndarray, labels: np.ndarray) -> Difference:
    """Return the accuracy of `ours` minus the accuracy of `theirs`, on the same images.

    The interval is Newcombe's for paired proportions (Statistics in Medicine 17, 1998, 2635-2650, method 10): the sides
    of both Wilson intervals, squared and added, less a term for the correlation of the errors.

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


def auroc(margins: np.ndarray, right: np.ndarray) -> float | None:
    """Return the probability that a right answer has more confidence than a wrong one; a tie counts one half.

    It is the area under the ROC curve of confidence as a test for right answers, and the Mann-Whitney statistic divided
    by the number of pairs.

    Args:
        margins: confidence (N,) in any unit that grows with it.
        right: bool (N,).

    Returns:
        0 to 1, 0.5 for a confidence without information; None if all answers are right or all are wrong.
    """
    from scipy.stats import mannwhitneyu  # imported here: it takes as long to load as most stages run

    wins, losses = margins[right], margins[~right]
    if not len(wins) or not len(losses):
        return None
    statistic = mannwhitneyu(wins, losses, method="asymptotic").statistic
    return float(statistic) / (len(wins) * len(losses))


def bin_of(confidence: np.ndarray) -> np.ndarray:
    """Return the bin, 0 to BINS - 1, of each confidence (N,) in [0.5, 1]; an edge belongs to the bin below it."""
    found: np.ndarray = np.searchsorted(EDGES[1:-1], confidence, side="left")
    return found


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Return the expected calibration error, 0 to 1.

    It is the mean over the images of |accuracy - mean confidence| of the image's bin (Guo et al., "On Calibration of
    Modern Neural Networks", ICML 2017, Eq. 3).

    Args:
        confidence: probability (N,) that the answer is right, in [0.5, 1].
        right: bool (N,).
    """
    gaps = np.bincount(bin_of(confidence), right - confidence, BINS)
    return float(np.abs(gaps).sum() / len(right))


def _correlation(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the phi coefficient of two bool arrays (N,), with Newcombe's continuity correction if it is positive."""
    n, one, two, both = len(ours), int(ours.sum()), int(theirs.sum()), int((ours & theirs).sum())
    spread = one * (n - one) * two * (n - two)
    excess: float = n * both - one * two
    if excess > 0:
        excess = max(excess - n / 2, 0)
    return excess / math.sqrt(spread) if spread else 0.0


def _side(ours: float, theirs: float, phi: float) -> float:
    return math.sqrt(ours**2 - 2 * phi * ours * theirs + theirs**2)
