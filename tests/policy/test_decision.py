import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from earlyexit.policy import decision

INT8 = st.integers(-128, 127)
Array = np.ndarray


def int8_logits(classifiers: int | None = None) -> st.SearchStrategy[Array]:
    rows = st.integers(1, 4) if classifiers is None else st.just(classifiers)
    shape = st.tuples(rows, st.integers(1, 30), st.just(2))
    return shape.flatmap(lambda s: hnp.arrays(np.int8, s, elements=INT8))


@given(int8_logits())
def test_margins_do_not_wrap_around(logits: Array) -> None:
    found = decision.margins(logits)
    assert found.tolist() == [[abs(int(b) - int(a)) for a, b in row] for row in logits]
    assert 0 <= found.min() <= found.max() <= 255


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_margins_are_those_of_int8(dtype: type) -> None:
    with pytest.raises(ValueError, match=f"margins need INT8 logits, these are {np.dtype(dtype)}"):
        decision.margins(np.full((1, 3, 2), 1, dtype))


@given(int8_logits())
def test_a_draw_is_no_person(logits: Array) -> None:
    assert decision.labels(logits).tolist() == [[int(b > a) for a, b in row] for row in logits]


@given(a=INT8, b=INT8, scale=st.floats(1e-4, 0.5))
def test_confidence_is_the_largest_softmax_probability(a: int, b: int, scale: float) -> None:
    exponentials = np.exp(np.array([a, b]) * scale - max(a, b) * scale)
    found = float(decision.confidence(decision.margins(np.array([a, b], np.int8)), scale))
    assert found == pytest.approx(exponentials.max() / exponentials.sum(), rel=1e-12)


@given(scale=st.floats(1e-4, 0.1))
def test_confidence_grows_with_the_margin(scale: float) -> None:
    found = decision.confidence(np.arange(256), scale)
    assert found[0] == 0.5
    assert (np.diff(found) > 0).all()
    assert found[-1] <= 1


calibrations = st.tuples(st.integers(1, 3), st.integers(1, 130)).flatmap(
    lambda shape: hnp.arrays(np.int64, shape, elements=st.integers(0, 255) | st.integers(0, 3))
)


@given(calibrations, st.integers(0, 100))
def test_threshold_is_the_smallest_margin_that_enough_images_do_not_exceed(calibration: Array, percentile: int) -> None:
    for margins, threshold in zip(calibration, decision.percentiles(calibration, percentile), strict=True):
        n = len(margins)
        enough = [int(m) for m in margins if 100 * int((margins <= m).sum()) >= percentile * n]
        assert threshold == min(enough)
        assert 100 * int((margins > threshold).sum()) <= (100 - percentile) * n


@pytest.mark.parametrize("n", [1, 3, 7, 100, 999, 1000])
def test_threshold_without_ties_gives_the_requested_rate(n: int) -> None:
    calibration = np.random.default_rng(0).permutation(n)[None]
    for percentile in range(1, 101):
        (threshold,) = decision.percentiles(calibration, percentile)
        assert int((calibration > threshold).sum()) == n * (100 - percentile) // 100


@given(calibrations)
def test_thresholds_grow_with_the_percentile(calibration: Array) -> None:
    rows = np.array([decision.percentiles(calibration, percentile) for percentile in range(101)])
    assert (np.diff(rows, axis=0) >= 0).all()
    assert rows[100].tolist() == calibration.max(1).tolist()


@pytest.mark.parametrize("percentile", [-1, 100.5, math.nan])
def test_percentiles_that_are_none(percentile: float) -> None:
    with pytest.raises(ValueError, match=r"outside 0\.\.100"):
        decision.percentiles(np.zeros((1, 3), np.int64), percentile)


def test_thresholds_of_no_images() -> None:
    with pytest.raises(ValueError, match="there are none"):
        decision.percentiles(np.zeros((2, 0), np.int64), 50)


@given(int8_logits(), st.data())
def test_decide_is_the_policy_image_by_image(logits: Array, data: st.DataObject) -> None:
    thresholds = [data.draw(st.integers(-1, 255)) for _ in logits[1:]]
    patience = data.draw(st.sampled_from([0, 2, 3]))
    found = decision.decide(logits, thresholds, patience)
    for i in range(logits.shape[1]):
        answers: list[int] = []
        for exit_, threshold in enumerate([*thresholds, -1]):
            a, b = (int(z) for z in logits[exit_, i])
            answers.append(int(b > a))
            if abs(b - a) > threshold or (patience and len(answers) >= patience and len(set(answers[-patience:])) == 1):
                break
        assert (found.exits[i], found.labels[i]) == (exit_, answers[-1])


@pytest.mark.parametrize("thresholds", [[], [1], [1, 2, 3]])
def test_decide_needs_a_threshold_an_early_exit(thresholds: list[int]) -> None:
    with pytest.raises(ValueError, match=f"{len(thresholds)} thresholds for 2 early exits"):
        decision.decide(np.zeros((3, 4, 2), np.int8), thresholds)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=50))
def test_exit_shares_count_and_sum_to_1(exits: list[int]) -> None:
    found = decision.exit_shares(np.array(exits), 4)
    assert found == [pytest.approx(exits.count(i) / len(exits)) for i in range(4)]
    assert sum(found) == pytest.approx(1)
