import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earlyexit.evaluation.statistics import accuracy

Z = 1.959963984540054  # 97.5th percentile of the normal distribution


@given(n=st.integers(1, 400), data=st.data())
def test_is_wilsons_interval(n: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, n))
    predicted = np.arange(n) < right
    found = accuracy(predicted.astype(np.int64), np.ones(n, np.int64))
    share = right / n
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    assert (found.value, found.n) == (share, n)
    assert found.low == pytest.approx(centre - half, abs=1e-9)
    assert found.high == pytest.approx(centre + half, abs=1e-9)
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize(("predicted", "expected"), [(0, 0), (3, 2), (0, 1)])
def test_arrays_that_do_not_fit(predicted: int, expected: int) -> None:
    with pytest.raises(ValueError, match=f"{predicted} predictions for {expected} labels"):
        accuracy(np.zeros(predicted), np.zeros(expected))
