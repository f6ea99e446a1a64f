"""TensorFlow Lite's fixed-point arithmetic: a real factor becomes an integer multiplier and a power of two.

After gemmlowp's fixedpoint.h and TensorFlow Lite's quantization_util.cc, with double rounding, as in LiteRT's reference
kernels and in TensorFlow Lite Micro.
"""

import math

import numpy as np

ADD_LEFT_SHIFT = 20  # of both inputs of an 8-bit ADD, before they are rescaled to a common scale


def quantize_multiplier(real: float) -> tuple[int, int]:
    """Return (multiplier, shift) with `real` ≈ multiplier * 2 ** (shift - 31); the multiplier is 0 or in [2^30, 2^31).

    Factors below 2^-32 become 0.

    Raises:
        ValueError: `real` is negative or not finite.
    """
    if not (math.isfinite(real) and real >= 0):
        raise ValueError(f"factor {real}, expected a finite number that is not negative")
    if real == 0:
        return 0, 0
    fraction, shift = math.frexp(real)
    multiplier = math.floor(fraction * 2**31 + 0.5)
    if multiplier == 2**31:
        multiplier, shift = 2**30, shift + 1
    return (0, 0) if shift < -31 else (multiplier, shift)


def mean_multiplier(real: float, count: int) -> tuple[int, int]:
    """Return (multiplier, shift) for `real` / `count`, with the precision that TensorFlow Lite's MEAN keeps."""
    multiplier, shift = quantize_multiplier(real)
    more = min(count.bit_length() - 1, 32, 31 + shift)
    return (multiplier << more) // count, shift - more


def add_multipliers(first: float, second: float, output: float) -> tuple[tuple[int, int], ...]:
    """Return (multiplier, shift) of both inputs and of the output of an ADD, from their scales.

    Raises:
        ValueError: a factor is not between 0 and 1, which TensorFlow Lite does not allow either.
    """
    common = 2 * max(first, second)
    factors = first / common, second / common, common / (2**ADD_LEFT_SHIFT * output)
    found = tuple(map(quantize_multiplier, factors))
    if any(factor >= 1 or shift > 0 for factor, (_, shift) in zip(factors, found, strict=True)):
        raise ValueError(f"scales {first} and {second} to {output} need a factor of 1 or more")
    return found


def requantize(values: np.ndarray, multipliers: np.ndarray | int, shifts: np.ndarray | int) -> np.ndarray:
    """Return round(values * multipliers * 2 ** (shifts - 31)), rounded twice as TensorFlow Lite does.

    The product is rounded to 32 bits, half up; then the right shift rounds half away from zero. `values` are 32-bit
    integers; a left shift wraps around.
    """
    shifts = np.asarray(shifts, np.int64)
    shifted = (np.asarray(values, np.int64) << np.maximum(shifts, 0)).astype(np.int32).astype(np.int64)
    high = (shifted * np.asarray(multipliers, np.int64) + 2**30) >> 31
    right = np.maximum(-shifts, 0)
    mask = (np.int64(1) << right) - 1
    found: np.ndarray = (high >> right) + ((high & mask) > (mask >> 1) + (high < 0))
    return found
