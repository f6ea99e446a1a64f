"""Accuracy with its interval."""

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
