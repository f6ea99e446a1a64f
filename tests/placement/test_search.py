from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earlyexit.budget.alternatives import Exits
from earlyexit.placement import search
from earlyexit.placement.search import STEPS, ExitSet, Search, ranks, searches
from earlyexit.policy.search import NEVER
from tests.placement import found

ROOMY = 10**9, 10**9
seeds = st.integers(0, 2**16)


def one(seed: int = 0, *, blocks: int = 5, n: int = 60, loss: float = 0.03, budget: tuple[int, int] = ROOMY) -> Search:
    (made,) = searches(
        found.candidates(blocks, n, seed, ("pooled",)),
        [found.alternatives("pooled", blocks, seed)],
        unit="cycles",
        loss=loss,
        budget=budget,
    )
    return made


def brute_force(made: Search, exits: Exits) -> float:
    """The least mean cost over all thresholds, image by image."""
    costs, n = made.costs.of(exits), made.ranks.shape[1]
    least = np.inf
    for thresholds in product(range(search.STEPS + 1), repeat=len(exits)):
        cost, penalty = 0.0, 0
        for image in range(n):
            leaves = [made.ranks[place, image] > t for place, t in zip(exits, thresholds, strict=True)]
            number = leaves.index(True) if True in leaves else len(exits)
            cost += costs[number] / n
            penalty += made.penalty[exits[number], image] if number < len(exits) else 0
        if penalty <= made.allowed:
            least = min(least, cost)
    return least


def judged(made: Search, size: int) -> list[ExitSet]:
    return [made.judge(exits) for exits in made.found.sets(size)]


@settings(max_examples=5)
@given(seed=seeds)
def test_the_best_set_is_that_of_brute_force(seed: int) -> None:
    patch = pytest.MonkeyPatch()
    patch.setattr(search, "STEPS", 5)
    try:
        made = one(seed, blocks=4, n=25, loss=0.05)
        for size in (1, 2, 3):
            expected = {exits: brute_force(made, exits) for exits in made.found.sets(size)}
            for exits, cost in expected.items():
                assert made.judge(exits).cost == pytest.approx(cost)
            best, beyond = made.best(size)
            assert best is not None
            assert best.cost == pytest.approx(min(expected.values()))
            assert beyond is None
    finally:
        patch.undo()


@given(seed=seeds, loss=st.sampled_from([0.0, 0.02, 0.1]), size=st.integers(1, 3))
@settings(max_examples=20)
def test_a_set_is_what_it_says(seed: int, loss: float, size: int) -> None:
    made = one(seed, loss=loss)
    best, _ = made.best(size)
    assert best is not None
    places = [made.found.blocks.index(name) for name in best.exits]
    thresholds = [NEVER if p is None else p * STEPS // 100 for p in best.percentiles]
    leaves = made.ranks[places] > np.array(thresholds)[:, None]
    number = np.where(leaves.any(0), leaves.argmax(0), size)
    assert best.exit_share == pytest.approx(np.bincount(number, minlength=size + 1) / 60)
    assert best.cost == pytest.approx(np.take(made.costs.of(tuple(places)), number).mean())
    assert best.loss == pytest.approx(made.penalty[[*places, -1]][number, np.arange(60)].mean())
    assert best.loss <= loss
    assert best.speedup == pytest.approx(1000 / best.cost)


@given(seed=seeds, size=st.integers(1, 3), flash=st.integers(3000, 30000), sram=st.integers(3000, 9000))
@settings(max_examples=20)
def test_no_set_is_better_than_the_best(seed: int, size: int, flash: int, sram: int) -> None:
    made = one(seed, budget=(flash, sram))
    best, beyond = made.best(size)
    fits = [each for each in judged(made, size) if each.flash <= flash and each.sram <= sram]
    others = [each for each in judged(made, size) if not each.fits]
    assert (best is None) == (not fits)
    if best is not None:
        assert best in fits
        assert best.cost == min(each.cost for each in fits)
    cheapest = min((each.cost for each in others), default=np.inf)
    if cheapest < (np.inf if best is None else best.cost):
        assert beyond is not None
        assert (beyond.cost, beyond.fits) == (cheapest, False)
    else:
        assert beyond is None


@given(seed=seeds)
@settings(max_examples=20)
def test_a_larger_loss_never_costs_more(seed: int) -> None:
    costs = [each.cost for loss in (0.0, 0.02, 0.05) if (each := one(seed, loss=loss).best(2)[0]) is not None]
    assert costs == sorted(costs, reverse=True)


def test_a_candidate_more_never_makes_the_best_worse() -> None:
    for seed in range(5):
        many, alternatives = found.candidates(6, 60, seed, ("pooled",)), found.alternatives("pooled", 6, seed)
        costs = []
        for blocks in (5, 6):
            fewer = type(many)({"pooled": many.logits["pooled"][:blocks]}, many.final, many.labels)
            names = alternatives.blocks[:blocks]
            part = type(alternatives)("pooled", names, alternatives.macs, alternatives.cycles, alternatives.segments)
            (made,) = searches(fewer, [part], unit="cycles", loss=0.02, budget=ROOMY)
            best = made.best(2)[0]
            assert best is not None
            costs.append(best.cost)
        assert costs[1] <= costs[0]


def test_each_kind_of_head_is_searched_in_the_unit_that_is_asked_for() -> None:
    answers, choices = found.candidates(4, 50), [found.alternatives(head, 4) for head in ("separable", "pooled")]
    units: list[tuple[search.Unit, int]] = [("cycles", 1000), ("macs", 2000)]
    for unit, whole in units:
        made = list(searches(answers, choices, unit=unit, loss=0.01, budget=ROOMY))
        assert [each.found.head for each in made] == ["separable", "pooled"]
        assert {each.costs.whole for each in made} == {whole}
    right = (answers.logits["pooled"].argmax(2) == answers.labels).mean(1)
    assert made[1].accuracy - made[1].penalty[:-1].mean(1) == pytest.approx(right)


@given(st.integers(1, 300), st.integers(0, 100))
@settings(max_examples=30)
def test_a_rank_above_a_threshold_is_a_margin_above_its_percentile(n: int, seed: int) -> None:
    margins = np.random.default_rng(seed).normal(size=(2, n)).round(1)
    found_ranks = ranks(margins)
    assert found_ranks.min() >= 1
    assert found_ranks.max() <= STEPS
    for row, places in zip(margins, found_ranks, strict=True):
        order = np.argsort(row, kind="stable")
        assert (np.diff(places[order]) >= 0).all()
        assert all(len(set(places[row == value])) == 1 for value in row)
        for step in (0, STEPS // 2, STEPS):
            # No more images are above a percentile than it says; with equal margins fewer.
            assert (places > step).mean() <= 1 - step / STEPS + 1 / n
