import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from earlyexit.policy import decision, search
from earlyexit.policy.guarantee import guarantee, halves, images_needed
from earlyexit.policy.search import NEVER
from tests.policy.test_search import COSTS, logits_of

RISK, DELTA = 0.02, 0.1


def promised(logits: np.ndarray, truth: np.ndarray | None, risk: float = RISK, delta: float = DELTA) -> list[int]:
    margins, answers = decision.margins(logits)[:-1], decision.labels(logits)
    return guarantee(margins, answers, truth, COSTS[: len(logits)], risk, delta).thresholds


def risk_of(logits: np.ndarray, truth: np.ndarray | None, thresholds: list[int]) -> float:
    decided = search.decided_by(decision.margins(logits)[:-1], thresholds)
    penalty = search.risk_penalty(decision.labels(logits), truth)
    return float(penalty[decided, np.arange(len(decided))].mean())


@pytest.mark.parametrize("labelled", [True, False])
def test_the_promise_is_broken_in_at_most_delta_of_many_calibration_splits(labelled: bool) -> None:
    """Coarse margins make a search fast; the population stands for val."""
    logits, truth = logits_of(40_000, (0.9, 0.7, 0.5, 0.4), 7)
    logits = (logits // 12 * 12).astype(np.int8)
    rng = np.random.default_rng(0)
    broken, leaving, splits = 0, 0, 150
    for _ in range(splits):
        chosen = rng.choice(len(truth), 800)
        thresholds = promised(logits[:, chosen], truth[chosen] if labelled else None)
        broken += risk_of(logits, truth if labelled else None, thresholds) > RISK
        leaving += min(thresholds) < NEVER
    assert leaving > 0.9 * splits
    # The test fails only where a rate above delta is certain.
    assert binomtest(broken, splits, DELTA, alternative="greater").pvalue > 0.001


def test_a_larger_risk_allows_a_faster_cascade() -> None:
    logits, truth = logits_of(4000, (0.9, 0.7, 0.5, 0.4), 3)
    margins = decision.margins(logits)[:-1]
    speeds = []
    for risk in (0.005, 0.01, 0.02, 0.05):
        decided = search.decided_by(margins, promised(logits, truth, risk))
        speeds.append(np.take(COSTS, decided).mean())
    assert speeds == sorted(speeds, reverse=True)
    assert speeds[-1] < speeds[0]


def test_too_few_images_promise_nothing() -> None:
    needed = images_needed(RISK, DELTA)
    assert needed == 228
    logits, _ = logits_of(needed, (0.0, 0.0), 0)  # both classifiers always agree
    answers = decision.labels(logits)
    margins = decision.margins(logits)[:1]
    enough = guarantee(margins, answers, None, COSTS[:2], RISK, DELTA)
    assert enough.holds
    assert (enough.tested, enough.failures) == (needed // 2, 0)
    few = guarantee(margins[:, 2:], answers[:, 2:], None, COSTS[:2], RISK, DELTA)
    assert few.thresholds == [NEVER]
    assert not few.holds
    assert not guarantee(margins[:, :1], answers[:, :1], None, COSTS[:2], RISK, DELTA).holds


def test_exits_that_contradict_the_network_are_hardly_taken() -> None:
    logits, _ = logits_of(2000, (0.4, 0.4), 0)
    logits[0] = -np.maximum(logits[0], -127)
    thresholds = promised(logits, None)
    assert (decision.margins(logits[0]) > thresholds[0]).mean() <= RISK


@given(st.integers(0, 3000))
def test_halves_are_disjoint_and_whole(n: int) -> None:
    learn, test = halves(n)
    assert sorted([*learn, *test]) == list(range(n))
    assert len(test) - len(learn) in (0, 1)
