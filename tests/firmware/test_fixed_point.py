import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earlyexit.firmware.fixed_point import add_multipliers, mean_multiplier, quantize_multiplier, requantize

FACTORS = st.floats(2.0**-30, 2.0**29)


def nearest(value: Fraction, *, ties_up: bool) -> int:
    """Halves up, or away from zero."""
    if ties_up or value >= 0:
        return math.floor(value + Fraction(1, 2))
    return -math.floor(-value + Fraction(1, 2))


@given(FACTORS)
def test_multiplier_is_the_nearest_of_31_bits(real: float) -> None:
    multiplier, shift = quantize_multiplier(real)
    assert 2**30 <= multiplier < 2**31
    assert abs(Fraction(multiplier) * Fraction(2) ** (shift - 31) / Fraction(real) - 1) <= Fraction(1, 2**31)


@pytest.mark.parametrize(
    ("real", "expected"),
    [(0.0, (0, 0)), (1.0, (2**30, 1)), (0.5, (2**30, 0)), (1 - 2.0**-40, (2**30, 1)), (2.0**-33, (0, 0))],
)
def test_multiplier_at_the_ends(real: float, expected: tuple[int, int]) -> None:
    assert quantize_multiplier(real) == expected


@pytest.mark.parametrize("real", [-0.5, math.inf, math.nan])
def test_refuses_factors_that_are_none(real: float) -> None:
    with pytest.raises(ValueError, match="expected a finite number"):
        quantize_multiplier(real)


@given(st.integers(-(2**31) + 1, 2**31 - 1), st.integers(0, 2**31 - 1), st.integers(0, 31))
def test_rounds_twice(value: int, multiplier: int, right: int) -> None:
    high = nearest(Fraction(value * multiplier, 2**31), ties_up=True)
    expected = nearest(Fraction(high, 2**right), ties_up=False)
    assert requantize(np.array([value]), multiplier, -right).tolist() == [expected]


@given(st.integers(-(2**20), 2**20), st.integers(2**30, 2**31 - 1), st.integers(1, 10))
def test_shifts_left_before_it_multiplies(value: int, multiplier: int, left: int) -> None:
    expected = nearest(Fraction((value << left) * multiplier, 2**31), ties_up=True)
    assert requantize(np.array([value]), multiplier, left).tolist() == [expected]


def test_two_roundings_are_not_one() -> None:
    # 0.75 - 2^-31 * 3 -> 1 step of 31 bits, then 1 / 2 away from zero.
    assert requantize(np.array([1]), 2**30, -1).tolist() == [1]
    assert requantize(np.array([-1]), 2**30, -1).tolist() == [0]


@given(st.floats(2.0**-6, 2.0**6), st.integers(1, 10_000))
def test_mean_multiplier_divides(real: float, count: int) -> None:
    multiplier, shift = mean_multiplier(real, count)
    assert multiplier * 2.0 ** (shift - 31) == pytest.approx(real / count, rel=2.0**-28)


@given(st.floats(1e-4, 1), st.floats(1e-4, 1))
def test_add_halves_the_input_of_the_greater_scale(first: float, second: float) -> None:
    factors = add_multipliers(first, second, max(first, second))
    assert factors[0 if first >= second else 1] == (2**30, 0)


def test_add_refuses_a_sum_that_needs_a_factor_of_one() -> None:
    with pytest.raises(ValueError, match="factor of 1 or more"):
        add_multipliers(1.0, 1.0, 2.0**-20)
