"""The exit policy: integer margins, their probabilities, thresholds from percentiles, decisions.

The confidence of an exit is its largest softmax probability. For two classes it grows with |z1 - z0|. On INT8 logits
this margin is an integer with more levels than TFLite's INT8 softmax. So decisions take the integer margin, and reports
show the probability.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def margins(logits: np.ndarray) -> np.ndarray:
    """Return |z1 - z0| of INT8 logits (..., 2) as int64 (...), between 0 and 255.

    Raises:
        ValueError: the logits are not INT8.
    """
    if logits.dtype != np.int8:
        raise ValueError(f"margins need INT8 logits, these are {logits.dtype}")
    wide = logits.astype(np.int64)
    found: np.ndarray = np.abs(wide[..., 1] - wide[..., 0])
    return found


def labels(logits: np.ndarray) -> np.ndarray:
    """Return the class of logits (..., 2): 1 where z1 > z0, else 0."""
    return (logits[..., 1] > logits[..., 0]).astype(np.int64)


def confidence(margin: np.ndarray, scale: float | np.ndarray) -> np.ndarray:
    """Return the larger softmax probability, 0.5 to 1, of two logits that differ by `margin` * `scale`.

    Shapes are broadcast.
    """
    probability: np.ndarray = 1 / (1 + np.exp(-np.asarray(margin, dtype=np.float64) * scale))
    return probability


def percentiles(values: np.ndarray, percentile: float) -> np.ndarray:
    """Return for each row the smallest value that at least `percentile` percent of the row do not exceed.

    So at most 100 - percentile percent of the row exceed it, with ties or without.

    Args:
        values: (rows, N).
        percentile: 0 to 100.

    Raises:
        ValueError: no images, or a percentile outside 0..100.
    """
    if values.shape[1] == 0:
        raise ValueError("thresholds need calibration images, and there are none")
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentile {percentile} is outside 0..100")
    # NumPy's inverted_cdf takes n * (percentile / 100), whose rounding moves e.g. rank 7 of 100 up to 8.
    rank = max(math.ceil(values.shape[1] * percentile / 100), 1)
    found: np.ndarray = np.sort(values, axis=1)[:, rank - 1]
    return found


@dataclass(frozen=True)
class Decisions:
    """For each image the number of the classifier that decides, from 0, and its class; both int64 (N,)."""

    exits: np.ndarray
    labels: np.ndarray


def decide(logits: np.ndarray, thresholds: Sequence[int], patience: int = 0) -> Decisions:
    """Apply an exit policy to all images at once.

    Args:
        logits: INT8 (classifiers, N, 2), the final classifier's last.
        thresholds: an integer margin for each early exit; an image leaves at the first that its margin exceeds.
        patience: if not 0, an image also leaves as soon as that many classifiers in a row give it the same class
            (PABEE: Zhou et al., "BERT Loses Patience", NeurIPS 2020).

    Raises:
        ValueError: not one threshold for each early exit.
    """
    if len(thresholds) != len(logits) - 1:
        raise ValueError(f"{len(thresholds)} thresholds for {len(logits) - 1} early exits")
    answers = labels(logits)
    leaves = margins(logits) > np.array([*thresholds, -1])[:, None]
    if patience:
        leaves |= agreeing(answers) >= patience
    exits = leaves.argmax(0)
    return Decisions(exits, answers[exits, np.arange(logits.shape[1])])


def agreeing(answers: np.ndarray) -> np.ndarray:
    """Return how many classifiers in a row, up to each one, give an image the same class.

    Args:
        answers: classes (classifiers, N).

    Returns:
        int64 (classifiers, N), 1 to the number of classifiers.
    """
    counts = np.ones(answers.shape, np.int64)
    for index in range(1, len(answers)):
        counts[index] += np.where(answers[index] == answers[index - 1], counts[index - 1], 0)
    return counts


def exit_shares(exits: np.ndarray, classifiers: int) -> list[float]:
    """Return the share of images that leave at each classifier, the final one last; they sum to 1."""
    return [float(share) for share in np.bincount(exits, minlength=classifiers) / len(exits)]
