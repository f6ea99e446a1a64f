"""The log-odds of one class against all others, from what a classifier answers."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Reading = Literal["probabilities", "logits"]

_ROUNDING = 0.01
"""By which the sum of float probabilities may differ from 1: half precision, many classes."""
_FLOOR = 1e-4
"""Smallest float probability; smaller ones say more of the number format than of the image."""


def are_probabilities(outputs: NDArray[np.float32], step: float) -> NDArray[np.bool_]:
    """Return for each row of outputs (N, classes) whether it can be probabilities: none negative, their sum 1.

    Args:
        outputs: real values.
        step: between two values of a quantized output, which adds half a step a class to the sum's error; 0 for float.
    """
    tolerance = _ROUNDING + outputs.shape[1] * step / 2
    found: NDArray[np.bool_] = (outputs >= 0).all(1) & (np.abs(outputs.sum(1) - 1) <= tolerance)
    return found


def read_as(outputs: NDArray[np.float32], step: float) -> Reading:
    """Return what the outputs (N, classes) of a classifier are, from the answers to some images.

    They are probabilities if all rows can be. They are logits if a value is below 0 or above 1. Others, such as one
    sigmoid for each class, could be taken for either, and are refused.

    Args:
        outputs, step: as for `are_probabilities`.

    Raises:
        ValueError: they are neither.
    """
    if are_probabilities(outputs, step).all():
        return "probabilities"
    if outputs.min() < 0 or outputs.max() > 1:
        return "logits"
    raise ValueError(
        "the outputs lie between 0 and 1, but their sum is not 1; needed are probabilities of a softmax, or logits"
    )


def log_odds(outputs: NDArray[np.float32], person: int, reading: Reading, step: float) -> NDArray[np.float32]:
    """Return the log-odds (N,) of class `person` against all others.

    Of probabilities log(p / (1 - p)), p kept half a step, or 1e-4 for float, away from 0 and 1; of logits
    z_person - log(sum of exp(z) of the others), which is the same for the probabilities of their softmax.

    Args:
        outputs: real values, (N, classes).
        person: the number of the class.
        reading: what the outputs are.
        step: between two values of a quantized output; 0 for float.
    """
    values = outputs.astype(np.float64)
    own = values[:, person]
    if reading == "logits":
        found = own - np.logaddexp.reduce(np.delete(values, person, axis=1), axis=1)
    else:
        floor = step / 2 or _FLOOR
        p = np.clip(own, floor, 1 - floor)
        found = np.log(p) - np.log1p(-p)
    return np.asarray(found, np.float32)
