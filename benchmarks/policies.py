"""Time the search for thresholds, against judging each set of thresholds on its own.

    python -m benchmarks.policies

Random logits with 256 levels of margin. The last column is the number of sets that the search looks at, times the
measured seconds of one `decision.decide`, over the seconds of the search.
"""

from time import perf_counter

import numpy as np

from earlyexit.common.markdown import table, thousands
from earlyexit.policy import decision
from earlyexit.policy.guarantee import guarantee
from earlyexit.policy.search import EXACT, accuracy_penalty, pareto_path

CASES = [(1_000, 3), (15_000, 3), (15_000, 2), (15_000, 5)]
"""Images and early exits."""


def main() -> None:
    """Print a table of seconds."""
    rows = []
    for n, exits in CASES:
        logits, truth = _logits(n, exits)
        margins, answers = decision.margins(logits)[:-1], decision.labels(logits)
        costs = np.linspace(1, 4, exits + 1).tolist()
        penalty = accuracy_penalty(answers, truth)
        start = perf_counter()
        path = pareto_path(margins, penalty, costs)
        searched = perf_counter() - start
        start = perf_counter()
        guarantee(margins, answers, truth, costs, 0.01, 0.1)
        promised = perf_counter() - start
        start = perf_counter()
        decision.decide(logits, path[0].thresholds)
        one = perf_counter() - start
        sets = int(np.prod([len(np.union1d(row, [0])) for row in margins]))
        ratio = f"{thousands(round(sets * one / searched))}x" if exits <= EXACT else "descent"
        rows.append([thousands(n), str(exits), f"{searched:.2f}", f"{promised:.2f}", str(len(path)), ratio])
    print("\n".join(table(["images", "exits", "search (s)", "guarantee (s)", "points of the path", "faster"], rows, 0)))


def _logits(n: int, exits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return INT8 logits (exits + 1, n, 2) of classifiers that get better from exit to exit, and labels (n,)."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, n)
    clear = rng.normal(1, 0.8, n) * np.where(truth, 1, -1)
    gaps = np.stack([clear + rng.normal(0, noise, n) for noise in np.linspace(0.9, 0.4, exits + 1)]) * 80
    return np.stack([np.floor(-gaps / 2), np.ceil(gaps / 2)], -1).clip(-128, 127).astype(np.int8), truth


if __name__ == "__main__":
    main()
