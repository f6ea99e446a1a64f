"""Where each tensor lies in one arena: buffers that are never alive together share bytes, and some that are do, too.

Of two buffers that are alive at the same time, one must lie a certain distance before the other: its size, or, where
an operator may write its output over its input, only the lead that keeps its writes behind its reads. Packing them is
a disjunctive scheduling problem (offsets for times, distances for durations). Placing the buffers one by one, each as
low as what is already placed allows, finds a smallest arena for some order: that in which an optimal arena holds them.
So the search is one over orders: all of them where there are few, else good ones and their neighbours.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_EXACT = 7  # buffers up to which every order is tried
_MOVES = 2000  # of the search among more


@dataclass(frozen=True)
class Buffer:
    """Bytes that are in use from operator number `first` to operator number `last`, both included."""

    name: str
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Overlap:
    """The output of an operator may lie over an input that nobody reads later, if it starts `lead` bytes before it.

    The operator goes through both from the low end to the high one. A lead of 0 allows the same place.
    """

    output: str
    input: str
    lead: int


@dataclass(frozen=True)
class Plan:
    """Places in an arena of `size` bytes; no arena for these buffers can be smaller than `bound`."""

    offsets: dict[str, int]
    size: int
    bound: int


def plan(
    buffers: Sequence[Buffer],
    overlaps: Sequence[Overlap],
    fixed: Mapping[str, int] | None = None,
    alignment: int = 4,
) -> Plan:
    """Place `buffers` in an arena that is as small as the search finds it; the same input gives the same plan.

    Optimal for up to seven buffers that are not fixed, and wherever `Plan.size` equals `Plan.bound`.

    Args:
        buffers: any order, names differ.
        overlaps: an overlap counts where the input's last operator is the output's first, else it is ignored.
        fixed: offsets that are given.
        alignment: of every offset that is not given.

    Raises:
        ValueError: two buffers of one name, a name without a buffer, a negative number, fixed buffers in conflict.
    """
    problem = _Problem(buffers, overlaps, dict(fixed or {}), alignment)
    bound = problem.bound()
    offsets = problem.search(bound)
    found = Plan({buffer.name: offsets[buffer.name] for buffer in buffers}, problem.size(offsets), bound)
    check(found, buffers, overlaps)
    return found


def check(found: Plan, buffers: Sequence[Buffer], overlaps: Sequence[Overlap]) -> None:
    """Verify that no operator finds a byte overwritten that it or a later one still reads.

    Raises:
        ValueError: naming the buffers at fault.
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
                raise ValueError(f"{places} are in each other's way")


class _Problem:
    """Distances between buffers that are alive together, and the search for an order."""

    def __init__(
        self, buffers: Sequence[Buffer], overlaps: Sequence[Overlap], fixed: dict[str, int], alignment: int
    ) -> None:
        _check_input(buffers, overlaps, fixed, alignment)
        self.buffers = {buffer.name: buffer for buffer in buffers}
        self.fixed = fixed
        self.alignment = alignment
        self.leads = _leads(buffers, overlaps)
        self.before = _distances(buffers, self.leads)
        for one in fixed:
            for other in self.before[one].keys() & fixed.keys():
                if not _apart(fixed, self.leads, self.buffers[one], self.buffers[other]):
                    raise ValueError(f"fixed: {one} at {fixed[one]} and {other} at {fixed[other]} are in conflict")

    def size(self, offsets: Mapping[str, int]) -> int:
        return max((offset + self.buffers[name].size for name, offset in offsets.items()), default=0)

    def bound(self) -> int:
        """Return the largest arena that the buffers alive at one operator need, all others left out."""
        largest = self.size(self.fixed)
        tried: set[frozenset[str]] = set()
        for step in sorted({buffer.first for buffer in self.buffers.values()}):
            alive = {name for name, buffer in self.buffers.items() if buffer.first <= step <= buffer.last}
            free = frozenset(alive - self.fixed.keys())
            if free in tried or len(free) > _EXACT:
                continue
            tried.add(free)
            here = {name: offset for name, offset in self.fixed.items() if name in alive}
            largest = max(largest, self.size(self._exact(here, sorted(free), largest)))
        return largest

    def search(self, bound: int) -> dict[str, int]:
        """Return the offsets of the best order found, at once where one meets `bound`."""
        free = [name for name in self.buffers if name not in self.fixed]
        if len(free) <= _EXACT:
            return self._exact(self.fixed, free, bound)
        orders = [sorted(free, key=lambda name: -self.buffers[name].size), *self._backwards(free)]
        placed = [self._place_all(order) for order in orders]
        best = min(range(len(orders)), key=lambda number: self.size(placed[number]))
        return self._improve(orders[best], placed[best], bound)

    def _backwards(self, free: list[str]) -> list[list[str]]:
        """Return orders from the last operator to the first, so that outputs lie before inputs, small buffers last."""
        # Reversed, not sorted downwards: of two that begin together, output and image, the one listed last comes first.
        late = sorted(free, key=lambda name: self.buffers[name].first)[::-1]
        largest = max(self.buffers[name].size for name in free)
        return [sorted(late, key=lambda name: self.buffers[name].size * part < largest) for part in (2, 4, 8, 16, 64)]

    def _improve(self, order: list[str], offsets: dict[str, int], bound: int) -> dict[str, int]:
        """Move buffers at the top of the arena, or those that they rest on, to other places in the order."""
        generator = np.random.default_rng(0)
        size = self.size(offsets)
        for _ in range(_MOVES):
            if size <= bound:
                break
            top = next(name for name in order if offsets[name] + self.buffers[name].size == size)
            around = [top, *(name for name in self.before[top] if name not in self.fixed)]
            moved = around[generator.integers(len(around))]
            trial = [name for name in order if name != moved]
            trial.insert(int(generator.integers(len(order))), moved)
            placed = self._place_all(trial)
            if self.size(placed) <= size:
                order, offsets, size = trial, placed, self.size(placed)
        return offsets

    def _exact(self, fixed: dict[str, int], free: list[str], bound: int) -> dict[str, int]:
        """Return the offsets of the best order of all, or the first that meets `bound`: branch and bound."""
        best: dict[str, int] = {}
        smallest = sum(self.buffers[name].size + self.alignment for name in free) + self.size(fixed) + 1

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

        extend(dict(fixed), self.size(fixed), sorted(free, key=lambda name: -self.buffers[name].size))
        return best

    def _place_all(self, order: Iterable[str]) -> dict[str, int]:
        offsets = dict(self.fixed)
        for name in order:
            offsets[name] = self._lowest(name, offsets)
        return offsets

    def _lowest(self, name: str, offsets: Mapping[str, int]) -> int:
        """Return the lowest aligned offset that is in nobody's way."""
        taken = sorted(  # open intervals that the offset must not lie in
            (offsets[other] - distance, offsets[other] + self.before[other][name])
            for other, distance in self.before[name].items()
            if other in offsets
        )
        offset = 0
        for low, high in taken:
            if low < offset < high:
                offset = -(-high // self.alignment) * self.alignment
        return offset


def _distances(buffers: Sequence[Buffer], leads: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    """Return for each buffer how far it must lie before each buffer that it is alive with, if it lies before it."""
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


def _check_input(
    buffers: Sequence[Buffer], overlaps: Sequence[Overlap], fixed: Mapping[str, int], alignment: int
) -> None:
    names = [buffer.name for buffer in buffers]
    if len(set(names)) < len(names):
        raise ValueError(f"buffers of one name: {sorted(name for name in set(names) if names.count(name) > 1)}")
    if unknown := ({name for o in overlaps for name in (o.output, o.input)} | fixed.keys()) - set(names):
        raise ValueError(f"no buffer of the name {sorted(unknown)[0]}")
    if alignment < 1:
        raise ValueError(f"alignment {alignment} must be 1 or more")
    for buffer in buffers:
        if buffer.size < 0 or buffer.first < 0 or buffer.last < buffer.first:
            raise ValueError(f"{buffer} must have a size of 0 or more, and a first operator before its last")
    for what, value in [*fixed.items(), *((f"the lead of {o.output} over {o.input}", o.lead) for o in overlaps)]:
        if value < 0:
            raise ValueError(f"{what}: {value} must be 0 or more")
