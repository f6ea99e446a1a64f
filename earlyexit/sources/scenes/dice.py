"""Fast scalar random numbers: thousands a scene, so they are drawn from the generator in blocks."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

BLOCK = 512


class Dice:
    """A stream of random scalars that `key` alone decides.

    A call of `numpy.random.Generator` for one scalar costs a microsecond or more; a block turned into a list, 0.1.
    """

    def __init__(self, *key: int) -> None:
        self.generator = np.random.default_rng(key)
        self._block: list[float] = []

    def random(self) -> float:
        """Return a number in [0, 1)."""
        if not self._block:
            self._block = self.generator.random(BLOCK).tolist()
        return self._block.pop()

    def uniform(self, low: float, high: float) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * self.random()

    def spread(self, width: float) -> float:
        """Return a number in (-width, width), small ones more often (triangular)."""
        return width * (self.random() - self.random())

    def whole(self, low: int, high: int) -> int:
        """Return one of low, ..., high, both included."""
        return low + int((high - low + 1) * self.random())

    def chance(self, probability: float) -> bool:
        """Return True with `probability`."""
        return self.random() < probability

    def side(self) -> int:
        """Return -1 or 1."""
        return -1 if self.random() < 0.5 else 1

    def pick(self, items: Sequence[T]) -> T:
        """Return one of `items`."""
        return items[int(self.random() * len(items))]

    def weighted(self, items: Sequence[tuple[T, float]]) -> T:
        """Return one of `items`, pairs of an item and its weight."""
        left = self.random() * sum(weight for _, weight in items)
        for item, weight in items:
            left -= weight
            if left < 0:
                return item
        return items[-1][0]
