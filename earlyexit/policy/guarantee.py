"""Promise a risk: choose the fastest thresholds whose risk is proven small by images that did not choose them.

This is Learn then Test (Angelopoulos et al., 2021) with a fixed sequence of hypotheses, as Jazbec et al. ("Fast yet
Safe: Early-Exiting with Risk Control", NeurIPS 2024) apply it to early exits.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from earlyexit.policy.search import NEVER, Choice, judged, pareto_path, risk_penalty

_RAISED = 64
"""How far above the safest thresholds of the path the tests begin."""
_STEP = 4
"""Largest change of a threshold from one test to the next."""


@dataclass(frozen=True)
class Guarantee:
    """Thresholds whose risk is at most what was asked, and the test that says so.

    Attributes:
        thresholds: an integer margin for each early exit; all `NEVER` if nothing could be promised.
        tested: images of the test.
        failures: those among them that count as a risk.
    """

    thresholds: list[int]
    tested: int
    failures: int

    @property
    def holds(self) -> bool:
        """Whether any image may leave early."""
        return any(threshold < NEVER for threshold in self.thresholds)


def guarantee(
    margins: np.ndarray,
    answers: np.ndarray,
    truth: np.ndarray | None,
    costs: Sequence[float],
    risk: float,
    delta: float,
) -> Guarantee:
    """Return the fastest thresholds whose risk is at most `risk` with confidence 1 - `delta`.

    One half of the images gives a path of thresholds from safe to fast. The other half tests them in this order: each
    time the hypothesis that the risk is larger, by the exact binomial tail, until one cannot be rejected. The order is
    fixed before the test, so the chance that a rejected hypothesis was true is at most `delta`.

    Args:
        margins: integer margins (early exits, N).
        answers: classes (classifiers, N), the final classifier's last.
        truth: labels (N,). The risk is the share of images that the cascade gets wrong and the whole network right.
            None: it is the share of images that the two answer differently.
        costs: of an image that leaves at each classifier.
        risk, delta: see above, both between 0 and 1.
    """
    from scipy.stats import binom  # imported here: stages that only read policies need not wait for it

    penalty = risk_penalty(answers, truth)
    learn, test = halves(margins.shape[1])
    best = Guarantee([NEVER] * len(margins), len(test), 0)
    if not len(learn):
        return best
    path = pareto_path(margins[:, learn], penalty[:, learn], costs)
    tested = margins[:, test], penalty[:, test], costs
    for thresholds in _sequence(path):
        failures = judged(*tested, thresholds).penalty
        if binom.cdf(failures, len(test), risk) > delta:
            break
        best = Guarantee(thresholds, len(test), failures)
    return best


def halves(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the images that give the path, and of those that test it: a shuffled half each."""
    order = np.random.default_rng(0).permutation(n)
    return np.sort(order[: n // 2]), np.sort(order[n // 2 :])


def images_needed(risk: float, delta: float) -> int:
    """Return the fewest images, both halves together, by which a risk can be promised: if not one of the test fails."""
    return 2 * math.ceil(math.log(delta) / math.log1p(-risk))


def _sequence(path: Sequence[Choice]) -> Iterator[list[int]]:
    """Yield the thresholds in the order of the tests.

    They begin above the safest thresholds, which images have chosen that they fit too well, and go along the path in
    small steps.
    """
    at = np.array(path[0].thresholds) + _RAISED
    for choice in path:
        away = np.array(choice.thresholds) - at
        steps = max(-(-int(np.abs(away).max(initial=0)) // _STEP), 1)
        for step in range(1, steps + 1):
            yield np.clip(np.round(at + away * step / steps), 0, NEVER).astype(int).tolist()
        at = at + away
