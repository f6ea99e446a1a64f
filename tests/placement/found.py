"""Candidate exits with random answers, and what sets of them would cost."""

from itertools import combinations

import numpy as np

from earlyexit.budget.alternatives import Alternatives, ExitCosts
from earlyexit.model.architecture import Head
from earlyexit.model.candidates import Candidates


def candidates(blocks: int, n: int, seed: int = 0, heads: tuple[Head, ...] = ("separable", "pooled")) -> Candidates:
    """Later exits are right more often, and surer where they are right."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    side = (2 * labels - 1)[:, None] * np.array([-0.5, 0.5])

    def answers(skill: float) -> np.ndarray:
        logits: np.ndarray = (side * skill + rng.normal(size=(n, 2))).astype(np.float32)
        return logits

    skills = np.linspace(0.5, 2, blocks)
    return Candidates({head: np.stack([answers(skill) for skill in skills]) for head in heads}, answers(2.5), labels)


def alternatives(head: Head, blocks: int, seed: int = 0) -> Alternatives:
    """Costs and memory of exits after so many blocks of a network that costs 1,000 as a whole."""
    rng = np.random.default_rng(seed)
    until = np.sort(rng.uniform(100, 950, blocks)).tolist()
    heads = rng.uniform(5, 80, blocks).tolist()
    costs = ExitCosts(until, heads, 1000.0)
    ends: list[tuple[int, int | None]] = [*combinations(range(-1, blocks), 2), *((k, None) for k in range(blocks))]
    segments = {end: (int(rng.integers(1000, 9000)), int(rng.integers(1000, 9000))) for end in ends}
    names = [f"block{k + 1}" for k in range(blocks)]
    return Alternatives(head, names, ExitCosts(until, heads, 2000.0), costs, segments)
