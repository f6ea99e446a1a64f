"""Four-bit numbers as a .tflite file stores them: two to a byte, the first in the lower bits; the last may be alone."""

import numpy as np


def packed(values: np.ndarray) -> np.ndarray:
    """Return integers of any shape, -8 to 7, in the order of memory, as uint8 (ceil(N / 2),)."""
    flat = values.ravel().astype(np.uint8) & 15
    pairs = np.append(flat, np.zeros(flat.size % 2, np.uint8)).reshape(-1, 2)
    found: np.ndarray = pairs[:, 0] | pairs[:, 1] << 4
    return found


def unpacked(data: np.ndarray, count: int) -> np.ndarray:
    """Return the first `count` of the numbers in `data`, uint8 (ceil(count / 2),), as int8 (count,)."""
    pairs = np.stack([data << 4, data & 0xF0], 1).view(np.int8)
    found: np.ndarray = (pairs >> 4).ravel()[:count]
    return found
