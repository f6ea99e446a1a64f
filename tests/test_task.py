import pytest
from hypothesis import given
from hypothesis import strategies as st

from earlyexit.task import in_calibration

IDS = range(20_000)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.125, 0.5, 1.0])
def test_share_is_met_within_four_standard_deviations(share: float) -> None:
    held_out = sum(in_calibration(i, share) for i in IDS)
    assert abs(held_out - share * len(IDS)) <= 4 * (len(IDS) * share * (1 - share)) ** 0.5


def test_choice_is_fixed() -> None:
    # The first byte of `printf $id | b2sum -l 64` is below 32. A changed hash would move images between splits.
    assert [i for i in range(100) if in_calibration(i, 0.125)] == [2, 6, 18, 29, 47, 55, 66, 71, 72, 90, 99]


@given(st.integers(0, 2**63 - 1), st.floats(0, 1), st.floats(0, 1))
def test_larger_share_only_adds(image_id: int, one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert in_calibration(image_id, large) or not in_calibration(image_id, small)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_refuses_what_is_no_share(share: float) -> None:
    with pytest.raises(ValueError, match="calibration_share"):
        in_calibration(1, share)
