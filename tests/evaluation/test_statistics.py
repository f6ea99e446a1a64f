import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from earlyexit.evaluation.statistics import (
    EDGES,
    Difference,
    accuracy,
    auroc,
    bin_of,
    calibration_error,
    paired_difference,
)
from earlyexit.policy import decision

answers = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=40)


@given(n=st.integers(1, 400), data=st.data())
def test_is_wilsons_interval(n: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, n))
    predicted = np.arange(n) < right
    found = accuracy(predicted.astype(np.int64), np.ones(n, np.int64))
    expected = binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert (found.value, found.n) == (right / n, n)
    assert (found.low, found.high) == (expected.low, expected.high)
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize(("predicted", "expected"), [(0, 0), (3, 2), (0, 1)])
def test_arrays_that_do_not_fit(predicted: int, expected: int) -> None:
    with pytest.raises(ValueError, match=f"{predicted} predictions for {expected} labels"):
        accuracy(np.zeros(predicted), np.zeros(expected))


@given(answers)
def test_auroc_is_the_share_of_pairs_won(drawn: list[tuple[int, bool]]) -> None:
    margins, right = np.array([margin for margin, _ in drawn]), np.array([right for _, right in drawn])
    pairs = [(won, lost) for won in margins[right] for lost in margins[~right]]
    found = auroc(margins, right)
    if not pairs:
        assert found is None
        return
    assert found == pytest.approx(
        sum((won > lost) + 0.5 * (won == lost) for won, lost in pairs) / len(pairs), abs=1e-12
    )
    assert auroc(decision.confidence(margins, 0.05), right) == found
    assert auroc(margins, ~right) == pytest.approx(1 - (found or 0), abs=1e-12)


def test_auroc_by_hand() -> None:
    right = np.array([True, True, False, False])
    assert auroc(np.array([9, 4, 4, 1]), right) == 0.875  # of 4 pairs 3 are won, 1 is a tie
    assert auroc(np.array([9, 8, 2, 1]), right) == 1
    assert auroc(np.array([1, 2, 8, 9]), right) == 0
    assert auroc(np.full(4, 7), right) == 0.5


@given(st.lists(st.tuples(st.integers(0, 255), st.booleans()), min_size=1, max_size=60), st.floats(1e-3, 0.2))
def test_calibration_error_is_the_mean_gap_of_the_bins(drawn: list[tuple[int, bool]], scale: float) -> None:
    confidence = decision.confidence(np.array([margin for margin, _ in drawn]), scale)
    right = np.array([right for _, right in drawn])
    expected = 0.0
    for low, high in pairwise(EDGES):
        inside = [i for i, c in enumerate(confidence) if low < c <= high or c == low == 0.5]
        if inside:
            gap = abs(np.mean(right[inside]) - np.mean(confidence[inside]))
            expected += len(inside) / len(drawn) * gap
    assert calibration_error(confidence, right) == pytest.approx(expected, abs=1e-12)


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.5, 0.52, 0.99, 0.99])
    right = np.array([True, False, True, True])
    assert calibration_error(confidence, right) == pytest.approx(0.5 * 0.01 + 0.5 * 0.01)
    assert calibration_error(np.ones(4), ~right) == pytest.approx(0.75)


def test_each_confidence_has_one_bin() -> None:
    edges = EDGES
    assert (len(edges), edges[0], edges[-1]) == (16, 0.5, 1)
    assert bin_of(edges).tolist() == [0, *range(15)]
    assert bin_of(np.nextafter(edges[:-1], 1)).tolist() == list(range(15))


def test_probabilities_that_are_true_have_next_to_no_error() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 200_000)
    right = rng.random(len(confidence)) < confidence
    assert calibration_error(confidence, right) < 0.005
    assert calibration_error(np.sqrt(confidence), right) > 0.05


def table(both: int, ours: int, theirs: int, neither: int) -> Difference:
    """The difference where so many images are right by both, by ours alone, by theirs alone, by neither."""
    counts = [both, ours, theirs, neither]
    labels = np.ones(sum(counts), np.int64)
    return paired_difference(np.repeat([1, 1, 0, 0], counts), np.repeat([1, 0, 1, 0], counts), labels)


def test_paired_difference_of_published_counts() -> None:
    """The counts of Altman et al., Statistics with Confidence (2000), Table 6.2."""
    found = table(14, 5, 0, 22)
    assert [found.value, found.low, found.high] == pytest.approx([0.122, 0.011, 0.226], abs=6e-4)


@given(st.tuples(*[st.integers(0, 30)] * 4).filter(any))
def test_paired_difference_holds_its_value_and_turns_around(counts: tuple[int, int, int, int]) -> None:
    both, ours, theirs, neither = counts
    found, turned = table(*counts), table(both, theirs, ours, neither)
    assert found.value == pytest.approx((ours - theirs) / sum(counts), abs=1e-12)
    assert found.low + 1e-9 >= -1
    assert found.low - 1e-9 <= found.value <= found.high + 1e-9
    assert found.high - 1e-9 <= 1
    assert [turned.value, turned.low, turned.high] == pytest.approx([-found.value, -found.high, -found.low], abs=1e-9)


def test_interval_of_independent_errors_is_squared_and_added() -> None:
    found = table(16, 16, 4, 4)
    labels = np.ones(40)
    ours, theirs = accuracy(np.arange(40) < 32, labels), accuracy(np.arange(40) < 20, labels)
    assert found.low == pytest.approx(0.3 - math.hypot(ours.value - ours.low, theirs.high - theirs.value))
    assert found.high == pytest.approx(0.3 + math.hypot(ours.high - ours.value, theirs.value - theirs.low))


def test_interval_holds_the_truth_19_times_of_20() -> None:
    rng = np.random.default_rng(0)
    chances = np.array([0.80, 0.06, 0.04, 0.10])
    tables = [table(*(int(count) for count in counts)) for counts in rng.multinomial(300, chances, 1500)]
    covered = np.mean([found.low <= 0.02 <= found.high for found in tables])
    assert 0.93 < covered < 0.975
