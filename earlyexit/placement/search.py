"""Choose early exits: positions, their number, the kind of head, and thresholds, all together.

Every set of candidates is judged with the thresholds that suit it best (`policy.search.pareto_path`), by the mean cost
of a held-out image at a loss of accuracy that is allowed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from earlyexit.budget.alternatives import Alternatives, ExitCosts, Exits
from earlyexit.model.candidates import Candidates
from earlyexit.policy.decision import exit_shares, labels
from earlyexit.policy.search import NEVER, accuracy_penalty, allowed, decided_by, pareto_path, within

Unit = Literal["cycles", "macs"]
STEPS = 50
"""Thresholds that are tried for each exit: percentiles of its margins, 2 apart."""


@dataclass(frozen=True)
class ExitSet:
    """A set of early exits with its best thresholds, and what it does on the held-out images.

    Attributes:
        head: of all exits.
        exits: names of the blocks that they follow.
        percentiles: threshold of each exit: an image leaves if its margin exceeds this percentile of the exit's
            margins; None: no image leaves there.
        loss: accuracy of the final classifier minus accuracy of the cascade.
        cost: mean, of an image.
        speedup: the baseline's cost over it.
        exit_share: share of the images that leaves at each classifier, the final one last.
        flash, sram: bytes.
        fits: whether they are within the budget.
    """

    head: str
    exits: list[str]
    percentiles: list[int | None]
    loss: float
    cost: float
    speedup: float
    exit_share: list[float]
    flash: int
    sram: int
    fits: bool


@dataclass(frozen=True)
class Search:
    """Judges sets of exits with one kind of head.

    Attributes:
        found: what the sets cost.
        unit: of the costs that are minimized.
        ranks: of the images' margins at each candidate, 1 to `STEPS`, int64 (blocks, N).
        penalty: answers that each candidate loses against the final classifier, int64 (blocks + 1, N).
        accuracy: of the final classifier.
        allowed: answers that a set may lose.
        budget: bytes of flash and SRAM.
    """

    found: Alternatives
    unit: Unit
    ranks: np.ndarray
    penalty: np.ndarray
    accuracy: float
    allowed: float
    budget: tuple[int, int]

    @property
    def costs(self) -> ExitCosts:
        """The costs that are minimized."""
        return self.found.cycles if self.unit == "cycles" else self.found.macs

    def judge(self, exits: Exits) -> ExitSet:
        """Return a set with those thresholds that cost least at the allowed loss."""
        places, costs = list(exits), self.costs.of(exits)
        margins = self.ranks[places]
        best = within(pareto_path(margins, self.penalty[[*places, -1]], costs), self.allowed)
        attached, (flash, sram) = self.found.attached(exits), self.found.memory(exits)
        return ExitSet(
            head=attached.head,
            exits=attached.exits,
            percentiles=[None if t == NEVER else 100 // STEPS * t for t in best.thresholds],
            loss=best.penalty / self.ranks.shape[1],
            cost=best.cost,
            speedup=self.costs.whole / best.cost,
            exit_share=exit_shares(decided_by(margins, best.thresholds), len(costs)),
            flash=flash,
            sram=sram,
            fits=flash <= self.budget[0] and sram <= self.budget[1],
        )

    def best(self, size: int) -> tuple[ExitSet | None, ExitSet | None]:
        """Return the cheapest set of `size` exits within the budget, and the one beyond it that is cheaper still."""
        within_budget: ExitSet | None = None
        beyond: ExitSet | None = None
        # No image costs less than one that leaves at the first exit.
        for least, exits in sorted((self.costs.of(exits)[0], exits) for exits in self.found.sets(size)):
            if within_budget is not None and least >= within_budget.cost:
                break
            judged = self.judge(exits)
            if judged.fits:
                within_budget = _cheaper(within_budget, judged)
            else:
                beyond = _cheaper(beyond, judged)
        if within_budget is not None and beyond is not None and beyond.cost >= within_budget.cost:
            beyond = None
        return within_budget, beyond


def _cheaper(best: ExitSet | None, other: ExitSet) -> ExitSet:
    return other if best is None or other.cost < best.cost else best


def searches(
    candidates: Candidates,
    alternatives: Sequence[Alternatives],
    *,
    unit: Unit,
    loss: float,
    budget: tuple[int, int],
) -> Iterator[Search]:
    """Yield the search over the sets of each kind of head; `loss` is a share of the images."""
    for found in alternatives:
        logits = candidates.logits[found.head]
        answers = labels(np.concatenate([logits, candidates.final[None]]))
        yield Search(
            found=found,
            unit=unit,
            ranks=ranks(np.abs(logits[..., 1] - logits[..., 0])),
            penalty=accuracy_penalty(answers, candidates.labels),
            accuracy=float(np.mean(answers[-1] == candidates.labels)),
            allowed=allowed(loss, len(candidates.labels)),
            budget=budget,
        )


def ranks(margins: np.ndarray) -> np.ndarray:
    """Return each margin's rank among those of its exit, 1 to `STEPS`, with about as many images in each.

    Args:
        margins: (exits, N).

    Returns:
        int64 (exits, N). Equal margins have equal ranks. Above a rank of `t` are the images whose margin exceeds the
        percentile 100 * t / `STEPS`.
    """
    below = np.stack([np.searchsorted(np.sort(row), row) for row in margins])
    found: np.ndarray = 1 + below * STEPS // margins.shape[1]
    return found
