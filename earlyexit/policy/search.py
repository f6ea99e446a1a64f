"""Search thresholds of all exits together: the best trades between what a cascade costs and what it gets wrong."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

NEVER = 255
"""A threshold that no margin exceeds."""
EXACT = 3
"""Early exits up to which the search looks at every set of thresholds."""
_PRICES = np.geomspace(0.1, 1000, 49)  # of one penalty, in costs of an image that runs through the whole network
_STARTS = 4
_ROUNDS = 20


@dataclass(frozen=True)
class Choice:
    """A set of thresholds, and what it does on the images that it was searched on.

    Attributes:
        thresholds: an integer margin for each early exit; an image leaves where its margin is greater.
        penalty: sum over the images of the penalty of the classifier that decides.
        cost: mean cost of an image.
    """

    thresholds: list[int]
    penalty: int
    cost: float


def accuracy_penalty(answers: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return for each classifier and image 1 where it is wrong and the final classifier right, -1 the other way round.

    The sum is the number of right answers that a cascade loses against the whole network.

    Args:
        answers: classes (classifiers, N), the final classifier's last.
        truth: labels (N,).
    """
    right = (answers == truth).astype(np.int64)
    penalty: np.ndarray = right[-1] - right
    return penalty


def risk_penalty(answers: np.ndarray, truth: np.ndarray | None) -> np.ndarray:
    """Return for each classifier and image 1 where it is wrong and the final classifier right, else 0.

    Args:
        answers: classes (classifiers, N), the final classifier's last.
        truth: labels (N,); None: the final classifier's answers stand for them.
    """
    expected = answers[-1] if truth is None else truth
    penalty: np.ndarray = ((answers != expected) & (answers[-1] == expected)).astype(np.int64)
    return penalty


def pareto_path(margins: np.ndarray, penalty: np.ndarray, costs: Sequence[float]) -> list[Choice]:
    """Return the sets of thresholds of which no other has less cost and no more penalty.

    Up to `EXACT` early exits every set is looked at: margins are integers, so a set of thresholds is a cell of a
    histogram of all exits' margins, and cumulative sums give penalty and cost of all cells. With more exits one
    threshold at a time is improved, for many prices of a penalty and from several starts, so the path may miss sets.

    Args:
        margins: integers 0 to 255, (early exits, N).
        penalty: integers (classifiers, N), of each classifier if it decides; the final classifier's is 0.
        costs: of an image that leaves at each classifier.

    Returns:
        choices in order, each with less cost and more penalty than the one before it. Equal ones: the one with the
        higher thresholds. A threshold that no image of these exceeds is `NEVER`.

    Raises:
        ValueError: there are no images, or the shapes do not fit together.
    """
    exits, n = margins.shape
    if n == 0:
        raise ValueError("the search for thresholds needs calibration images, and there are none")
    if penalty.shape != (exits + 1, n) or len(costs) != exits + 1 or penalty[-1].any():
        raise ValueError(f"{exits} early exits need penalties and costs of {exits + 1} classifiers, the final one's 0")
    if exits <= EXACT:
        return _exact(margins, penalty, costs)
    return _descended(margins, penalty, costs)


def decided_by(margins: np.ndarray, thresholds: Sequence[int]) -> np.ndarray:
    """Return the number of the classifier that decides each image, from 0; int64 (N,).

    Args:
        margins: integer margins (early exits, N).
        thresholds: one for each early exit.
    """
    leaves = margins > np.array(thresholds)[:, None]
    found: np.ndarray = np.where(leaves.any(0), leaves.argmax(0), len(margins))
    return found


def judged(margins: np.ndarray, penalty: np.ndarray, costs: Sequence[float], thresholds: list[int]) -> Choice:
    """Return a set of thresholds with its penalty and cost; the arguments are those of `pareto_path`."""
    decided = decided_by(margins, thresholds)
    total = int(penalty[decided, np.arange(len(decided))].sum())
    return Choice(thresholds, total, float(np.take(costs, decided).mean()))


def within(path: Sequence[Choice], penalty: float) -> Choice:
    """Return the cheapest choice of a path whose penalty is at most `penalty`.

    Raises:
        ValueError: there is none.
    """
    fits = [choice for choice in path if choice.penalty <= penalty]
    if not fits:
        raise ValueError(f"no set of thresholds has a penalty of at most {penalty}")
    return fits[-1]


def allowed(loss: float, n: int) -> float:
    """Return how many of `n` images a loss of accuracy is; comparisons with it are safe from rounding."""
    # A loss of 0.005 of 1,000 images is 5 of them; the product may be off in the last bit.
    return loss * n + 1e-9


def _exact(margins: np.ndarray, penalty: np.ndarray, costs: Sequence[float]) -> list[Choice]:
    """Return the path from all sets of thresholds of at most `EXACT` early exits.

    Margins are replaced by their ranks among the levels that occur. Missing exits are put in front, with one level that
    nobody exceeds.
    """
    missing = EXACT - len(margins)
    ranked = [_ranks(row) for row in np.pad(margins, ((missing, 0), (0, 0)))]
    levels = [level for level, _ in ranked]
    front = _Front(penalty)
    sizes = tuple(map(len, levels))
    planes = _planes(
        [rank for _, rank in ranked], sizes, np.pad(penalty, ((missing, 0), (0, 0))), [0.0] * missing + [*costs]
    )
    for first, penalties, totals in planes:
        front.add(penalties, totals, first * penalties.size)
    return [
        Choice(
            [int(levels[k][i]) for k, i in enumerate(np.unravel_index(cell, sizes))][missing:],
            value,
            total / len(margins[0]),
        )
        for value, total, cell in front.path()
    ]


def _ranks(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the levels of an exit's margins, from 0 to `NEVER`, and the rank of each image's margin among them."""
    levels = np.union1d(values, [0])
    ranks = np.searchsorted(levels, values)
    levels[-1] = NEVER
    return levels, ranks


def _planes(
    ranks: Sequence[np.ndarray], sizes: tuple[int, ...], penalty: np.ndarray, costs: Sequence[float]
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield for each threshold of the first exit, highest first, penalties and costs of all sets of the other two.

    `stay` counts, for each pair of ranks at the other exits, the images that do not leave at the first. Its cumulative
    sums count those that do not leave at the others either.
    """
    first, second, third = ranks
    cells = second * sizes[2] + third
    plane = sizes[1] * sizes[2]

    def histogram(chosen: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        values = np.bincount(cells[chosen], None if weights is None else weights[chosen], plane)
        return values.reshape(sizes[1:])

    everyone = np.ones(len(first), bool)
    stay, at_second, at_third = histogram(everyone), histogram(everyone, penalty[1]), histogram(everyone, penalty[2])
    left = left_penalty = 0
    for rank in range(sizes[0] - 1, -1, -1):
        left_behind = _cumulated(stay)
        after_second = left_behind[:, -1:]
        second_penalty = _cumulated(at_second)[:, -1:]
        third_penalty = _cumulated(at_third)
        remaining = after_second[-1]
        totals = (
            costs[0] * left
            + costs[1] * (remaining - after_second)
            + costs[2] * (after_second - left_behind)
            + costs[3] * left_behind
        )
        penalties = left_penalty + (second_penalty[-1] - second_penalty) + (third_penalty[:, -1:] - third_penalty)
        yield rank, penalties.astype(np.int64), totals
        leaving = first == rank
        stay = stay - histogram(leaving)
        at_second = at_second - histogram(leaving, penalty[1])
        at_third = at_third - histogram(leaving, penalty[2])
        left += int(leaving.sum())
        left_penalty += int(penalty[0][leaving].sum())


def _cumulated(plane: np.ndarray) -> np.ndarray:
    found: np.ndarray = plane.cumsum(0).cumsum(1)
    return found


class _Front:
    """The least cost of each sum of penalties, among all cells seen so far."""

    def __init__(self, penalty: np.ndarray) -> None:
        self._least = int(penalty.min(0).sum())
        count = int(penalty.max(0).sum()) - self._least + 1
        self._cost = np.full(count, np.inf)
        self._cell = np.zeros(count, np.int64)

    def add(self, penalties: np.ndarray, totals: np.ndarray, offset: int) -> None:
        """Take the cells that cost less than all cells with at most their penalty; of equal ones the last."""
        places, values = penalties.ravel() - self._least, totals.ravel()
        better = np.flatnonzero(values < np.minimum.accumulate(self._cost)[places])
        order = better[np.lexsort((-better, values[better], places[better]))]
        _, firsts = np.unique(places[order], return_index=True)
        chosen = order[firsts]
        self._cost[places[chosen]] = values[chosen]
        self._cell[places[chosen]] = offset + chosen

    def path(self) -> list[tuple[int, float, int]]:
        """Return penalty, cost and cell of each point that costs less than all with at most its penalty."""
        before = np.concatenate([[np.inf], np.minimum.accumulate(self._cost)[:-1]])
        places = np.flatnonzero(self._cost < before)
        return [(int(place) + self._least, float(self._cost[place]), int(self._cell[place])) for place in places]


def _descended(margins: np.ndarray, penalty: np.ndarray, costs: Sequence[float]) -> list[Choice]:
    """Return the path of all sets that coordinate descent visits: for each price of a penalty, from several starts."""
    rng = np.random.default_rng(0)
    never = np.full(len(margins), NEVER)
    visited = {tuple(never.tolist())}
    best = never
    for price in _PRICES[::-1] * costs[-1]:
        weights = penalty * price + np.asarray(costs, np.float64)[:, None]
        starts = [best, *(np.array([rng.choice(row) for row in margins]) for _ in range(_STARTS - 1))]
        ends = [_descend(margins, weights, start, visited) for start in starts]
        best = min(ends, key=lambda end: end[1])[0]
    return _pareto([judged(margins, penalty, costs, list(thresholds)) for thresholds in sorted(visited, reverse=True)])


def _descend(
    margins: np.ndarray, weights: np.ndarray, start: np.ndarray, visited: set[tuple[int, ...]]
) -> tuple[np.ndarray, float]:
    """Improve one threshold after the other until none gets better; return the thresholds and the sum of weights.

    Args:
        margins: (early exits, N).
        weights: of an image at each classifier, (classifiers, N).
        start: thresholds.
        visited: takes the thresholds of each round.
    """
    thresholds, before = start.copy(), np.inf
    for _ in range(_ROUNDS):
        later = weights[-1]
        for index in range(len(margins) - 1, -1, -1):
            reaches = np.less_equal(margins[:index], thresholds[:index, None]).all(axis=0)
            thresholds[index] = _best_threshold(margins[index], weights[index], later, reaches)
            later = np.where(margins[index] > thresholds[index], weights[index], later)
        visited.add(tuple(thresholds.tolist()))
        total = float(later.sum())
        if total >= before:
            break
        before = total
    return thresholds, before


def _best_threshold(margins: np.ndarray, here: np.ndarray, later: np.ndarray, reaches: np.ndarray) -> int:
    """Return the threshold of one exit with the least sum of weights, all other thresholds kept.

    Args:
        margins, here, later: margin of each image at the exit, its weight there and behind it.
        reaches: bool (N,), the images that get to this exit.
    """
    kept = np.bincount(margins[reaches], (later - here)[reaches], NEVER + 1).cumsum()
    return NEVER - int(kept[::-1].argmin())


def _pareto(choices: Sequence[Choice]) -> list[Choice]:
    """Return the choices that no other beats; of equal ones the first."""
    path: list[Choice] = []
    for choice in sorted(choices, key=lambda choice: (choice.penalty, choice.cost)):
        if not path or choice.cost < path[-1].cost:
            path.append(choice)
    return path
