from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earlyexit.policy import decision, search
from earlyexit.policy.search import NEVER, Choice

LEVELS = [0, 1, 3, 254, 255]
Case = tuple[np.ndarray, np.ndarray, list[float]]


def judged(margins: np.ndarray, penalty: np.ndarray, costs: list[float], thresholds: list[int]) -> tuple[int, float]:
    """Penalty and mean cost of a cascade, image by image."""
    total, spent = 0, 0.0
    for image in range(margins.shape[1]):
        leaves = (k for k, threshold in enumerate(thresholds) if margins[k, image] > threshold)
        k = next(leaves, len(thresholds))
        total += int(penalty[k, image])
        spent += costs[k]
    return total, round(spent / margins.shape[1], 9)


def check(choice: Choice, case: Case) -> None:
    """A choice does what it says."""
    assert judged(*case, choice.thresholds) == (choice.penalty, round(choice.cost, 9))


def every(margins: np.ndarray, penalty: np.ndarray, costs: list[float]) -> list[tuple[int, float]]:
    """Penalty and cost of all sets of thresholds that differ on the images."""
    levels = [sorted({0, *row.tolist(), NEVER}) for row in margins]
    return [judged(margins, penalty, costs, list(row)) for row in product(*levels)]


@st.composite
def cases(draw: st.DrawFn, most: int = 3, images: int = 12, coarse: bool = True) -> Case:
    exits, n = draw(st.integers(1, most)), draw(st.integers(1, images))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    margins = rng.choice(LEVELS if coarse else 256, (exits, n))
    penalty = rng.integers(-1, 2, (exits + 1, n))
    penalty[-1] = 0
    return margins, penalty, np.cumsum(rng.integers(1, 9, exits + 1)).astype(float).tolist()


@given(cases())
def test_the_path_is_the_front_of_all_sets(case: Case) -> None:
    found = search.pareto_path(*case)
    values = every(*case)
    front = [
        (penalty, cost)
        for penalty, cost in sorted(set(values))
        if all(cost < other for least, other in values if least <= penalty and (least, other) != (penalty, cost))
    ]
    assert [(choice.penalty, round(choice.cost, 9)) for choice in found] == front
    for choice in found:
        check(choice, case)


@given(cases(most=5, images=60, coarse=False))
def test_more_exits_find_sets_that_are_what_they_say_and_none_beats_another(case: Case) -> None:
    found = search._descended(*case)
    for choice in found:
        check(choice, case)
    assert all(a.penalty < b.penalty and a.cost > b.cost for a, b in pairwise(found))
    assert found[0].penalty <= 0


def logits_of(n: int, noise: tuple[float, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """INT8 logits of classifiers that get better from exit to exit, and labels."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, n)
    clear = rng.normal(1, 0.8, n) * np.where(truth, 1, -1)
    gaps = np.stack([clear + rng.normal(0, sigma, n) for sigma in noise]) * 40
    return np.clip(np.stack([-gaps, gaps], -1).round(), -128, 127).astype(np.int8), truth


COSTS = [3.0, 4.5, 6.0, 12.0]


def test_descent_comes_near_the_exact_search() -> None:
    logits, truth = logits_of(2000, (0.9, 0.7, 0.5, 0.4), 0)
    margins = decision.margins(logits)[:-1]
    penalty = search.accuracy_penalty(decision.labels(logits), truth)
    exact, near = search.pareto_path(margins, penalty, COSTS), search._descended(margins, penalty, COSTS)
    for loss in (0, 10, 20, 40):
        best = search.within(exact, loss).cost
        assert best <= search.within(near, loss).cost <= 1.1 * best


def test_searched_thresholds_are_faster_than_any_percentile_at_the_same_loss() -> None:
    logits, truth = logits_of(1000, (0.9, 0.7, 0.5, 0.4), 1)
    margins = decision.margins(logits)[:-1]
    penalty = search.accuracy_penalty(decision.labels(logits), truth)
    path = search.pareto_path(margins, penalty, COSTS)
    for percentile in range(101):
        total, cost = judged(margins, penalty, COSTS, decision.percentiles(margins, percentile).tolist())
        assert search.within(path, total).cost <= cost + 1e-9


def test_of_equal_sets_the_highest_thresholds_are_kept() -> None:
    margins, penalty = np.array([[9, 9], [7, 3]]), np.zeros((3, 2), int)
    assert search.pareto_path(margins, penalty, [1, 2, 3]) == [Choice([0, NEVER], 0, 1.0)]


def test_penalties_count_what_they_say() -> None:
    truth = np.array([0, 0, 1, 1])
    answers = np.array([[0, 1, 1, 0], [0, 0, 0, 0]])
    assert search.accuracy_penalty(answers, truth).tolist() == [[0, 1, -1, 0], [0, 0, 0, 0]]
    assert search.risk_penalty(answers, truth).tolist() == [[0, 1, 0, 0], [0, 0, 0, 0]]
    assert search.risk_penalty(answers, None).tolist() == [[0, 1, 1, 0], [0, 0, 0, 0]]


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="needs calibration images, and there are none"):
        search.pareto_path(np.zeros((2, 0), int), np.zeros((3, 0), int), [1, 2, 3])
    with pytest.raises(ValueError, match="2 early exits need penalties and costs of 3 classifiers"):
        search.pareto_path(np.zeros((2, 4), int), np.zeros((3, 4), int), [1, 2])
    with pytest.raises(ValueError, match="no set of thresholds has a penalty of at most -3"):
        search.within([Choice([NEVER], 0, 1.0)], -3)
