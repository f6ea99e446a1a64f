"""Plan where each buffer lies in one arena.

Buffers that are never alive at the same time share bytes. Of two that are, one must start a certain distance before the
other: its size, or less where an operator may write its output over its input. That distance, the lead, keeps the
operator's writes behind its reads. Packing such buffers is a disjunctive scheduling problem (offsets for times,
distances for durations).

Placing each buffer at its lowest free offset is optimal for at least one order: that of an optimal arena's offsets. So
only orders are searched: all of them if there are few buffers, else good ones and their neighbours.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_ALIGNMENT = 4  # of every offset
_EXACT = 7  # buffers up to which every order is tried
_MOVES = 2000  # of the search among more buffers


@dataclass(frozen=True)
class Buffer:
    """Bytes that are in use from operator number `first` to operator number `last`, both included."""

    name: str
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Overlap:
    """An output that may overwrite an input which no later operator reads, if it starts `lead` bytes before it.

    The operator reads and writes from low addresses to high ones. A lead of 0 allows the same offset.
    """

    output: str
    input: str
    lead: int


@dataclass(frozen=True)
class Plan:
    """Offsets in an arena of `size` bytes; no arena for these buffers can be smaller than `bound`."""

    offsets: dict[str, int]
    size: int
    bound: int


def plan(buffers: Sequence[Buffer], overlaps: Sequence[Overlap]) -> Plan:
    """Return the offsets of `buffers` in the smallest arena that the search finds; equal input gives equal plans.

    The arena is optimal for up to seven buffers, and whenever `Plan.size` equals `Plan.bound`.

    Args:
        buffers: in any order; names differ.
        overlaps: of buffers in `buffers`; ignored unless the input's last operator is the output's first.
    """
    problem = _Problem(buffers, overlaps)
    bound = problem.bound()
    offsets = problem.search(bound)
    found = Plan({buffer.name: offsets[buffer.name] for buffer in buffers}, problem.size(offsets), bound)
    check(found, buffers, overlaps)
    return found


def check(found: Plan, buffers: Sequence[Buffer], overlaps: Sequence[Overlap]) -> None:
    """Verify that no byte is overwritten before its last operator has read it.

    Raises:
        ValueError: two buffers are too near to each other, or one lies outside the arena; names them.
    """
    leads = _leads(buffers, overlaps)
    for buffer in buffers:
        offset = found.offsets[buffer.name]
        if offset < 0 or offset + buffer.size > found.size:
            raise ValueError(f"{buffer.name} at {offset}, {buffer.size} bytes, is outside the arena of {found.size}")
    for number, one in enumerate(buffers):
        for other in buffers[number + 1 :]:
            if _together(one, other) and not _apart(found.offsets, leads, one, other):
                places = " and ".join(f"{b.name} at {found.offsets[b.name]}, {b.size} bytes" for b in (one, other))
                raise ValueError(f"{places} overlap")


class _Problem:
    """Distances between buffers that are alive together, and the search for an order."""

    def __init__(self, buffers: Sequence[Buffer], overlaps: Sequence[Overlap]) -> None:
        self.buffers = {buffer.name: buffer for buffer in buffers}
        self.before = _distances(buffers, _leads(buffers, overlaps))

    def size(self, offsets: Mapping[str, int]) -> int:
        return max((offset + self.buffers[name].size for name, offset in offsets.items()), default=0)

    def bound(self) -> int:
        """Return the largest of the arenas that the buffers alive at each operator need by themselves."""
        largest = 0
        tried: set[frozenset[str]] = set()
        for step in sorted({buffer.first for buffer in self.buffers.values()}):
            alive = frozenset(name for name, buffer in self.buffers.items() if buffer.first <= step <= buffer.last)
            if alive in tried or len(alive) > _EXACT:
                continue
            tried.add(alive)
            largest = max(largest, self.size(self._exact(sorted(alive), largest)))
        return largest

    def search(self, bound: int) -> dict[str, int]:
        """Return the offsets of the best order found; stop at the first that needs no more than `bound` bytes."""
        if len(self.buffers) <= _EXACT:
            return self._exact(list(self.buffers), bound)
        orders = [sorted(self.buffers, key=lambda name: -self.buffers[name].size), *self._backwards()]
        placed = [self._place_all(order) for order in orders]
        best = min(range(len(orders)), key=lambda number: self.size(placed[number]))
        return self._improve(orders[best], placed[best], bound)

    def _backwards(self) -> list[list[str]]:
        """Return orders from the last operator to the first, so that outputs lie before inputs, small buffers last."""
        # Reversed, not sorted downwards: of two buffers that begin together, the one listed last must come first.
        late = sorted(self.buffers, key=lambda name: self.buffers[name].first)[::-1]
        largest = max(buffer.size for buffer in self.buffers.values())
        return [sorted(late, key=lambda name: self.buffers[name].size * part < largest) for part in (2, 4, 8, 16, 64)]

    def _improve(self, order: list[str], offsets: dict[str, int], bound: int) -> dict[str, int]:
        """Return offsets of an order improved by moving buffers at the top of the arena, or those below them."""
        generator = np.random.default_rng(0)
        size = self.size(offsets)
        for _ in range(_MOVES):
            if size <= bound:
                break
            top = next(name for name in order if offsets[name] + self.buffers[name].size == size)
            around = [top, *self.before[top]]
            moved = around[generator.integers(len(around))]
            trial = [name for name in order if name != moved]
            trial.insert(int(generator.integers(len(order))), moved)
            placed = self._place_all(trial)
            if self.size(placed) <= size:
                order, offsets, size = trial, placed, self.size(placed)
        return offsets

    def _exact(self, names: list[str], bound: int) -> dict[str, int]:
        """Return the offsets of the best order of all, by branch and bound; stop at `bound` as `search` does."""
        best: dict[str, int] = {}
        smallest = sum(self.buffers[name].size + _ALIGNMENT for name in names) + 1

        def extend(offsets: dict[str, int], size: int, rest: list[str]) -> None:
            nonlocal best, smallest
            if size >= smallest or smallest <= bound:
                return
            if not rest:
                best, smallest = offsets, size
                return
            for name in rest:
                offset = self._lowest(name, offsets)
                end = max(size, offset + self.buffers[name].size)
                extend({**offsets, name: offset}, end, [other for other in rest if other != name])

        extend({}, 0, sorted(names, key=lambda name: -self.buffers[name].size))
        return best

    def _place_all(self, order: Iterable[str]) -> dict[str, int]:
        offsets: dict[str, int] = {}
        for name in order:
            offsets[name] = self._lowest(name, offsets)
        return offsets

    def _lowest(self, name: str, offsets: Mapping[str, int]) -> int:
        """Return the lowest aligned offset at a sufficient distance from the buffers already placed."""
        taken = sorted(  # open intervals that the offset must not lie in
            (offsets[other] - distance, offsets[other] + self.before[other][name])
            for other, distance in self.before[name].items()
            if other in offsets
        )
        offset = 0
        for low, high in taken:
            if low < offset < high:
                offset = -(-high // _ALIGNMENT) * _ALIGNMENT
        return offset


def _distances(buffers: Sequence[Buffer], leads: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    """Return, for each pair of buffers alive together, how many bytes the first must start before the second.

    The distance counts if the first lies before the second: `found[first][second]`.
    """
    before: dict[str, dict[str, int]] = {buffer.name: {} for buffer in buffers}
    for number, one in enumerate(buffers):
        for other in buffers[number + 1 :]:
            if _together(one, other):
                before[one.name][other.name] = _distance(leads, one, other)
                before[other.name][one.name] = _distance(leads, other, one)
    return before


def _distance(leads: Mapping[tuple[str, str], int], one: Buffer, other: Buffer) -> int:
    return min(leads.get((one.name, other.name), one.size), one.size)


def _apart(offsets: Mapping[str, int], leads: Mapping[tuple[str, str], int], one: Buffer, other: Buffer) -> bool:
    gap = offsets[other.name] - offsets[one.name]
    return gap >= _distance(leads, one, other) or -gap >= _distance(leads, other, one)


def _together(one: Buffer, other: Buffer) -> bool:
    return one.first <= other.last and other.first <= one.last and one.size > 0 and other.size > 0


def _leads(buffers: Sequence[Buffer], overlaps: Sequence[Overlap]) -> dict[tuple[str, str], int]:
    """Return the lead of each (output, input) whose input ends where the output begins."""
    named = {buffer.name: buffer for buffer in buffers}
    return {
        (overlap.output, overlap.input): overlap.lead
        for overlap in overlaps
        if named[overlap.input].last == named[overlap.output].first
    }
