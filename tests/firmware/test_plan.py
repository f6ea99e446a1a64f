import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earlyexit.firmware.plan import Buffer, Overlap, Plan, check, plan


@st.composite
def problems(draw: st.DrawFn, most: int, largest: int) -> tuple[list[Buffer], list[Overlap]]:
    """Up to `most` buffers of up to `largest` bytes, and a lead for some of the pairs that hand over."""
    steps = st.integers(0, most)
    buffers = []
    for number in range(draw(st.integers(1, most))):
        first, last = sorted((draw(steps), draw(steps)))
        buffers.append(Buffer(f"b{number}", draw(st.integers(0, largest)), first, last))
    pairs = [(a.name, b.name) for a in buffers for b in buffers if a.last == b.first and a is not b]
    some = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    return buffers, [Overlap(output, source, draw(st.integers(0, largest))) for source, output in some]


def fits(buffers: Sequence[Buffer], overlaps: Sequence[Overlap], size: int) -> bool:
    """Whether some offsets in an arena of `size` bytes pass the check: all of them are tried."""

    def extend(offsets: dict[str, int]) -> bool:
        if len(offsets) == len(buffers):
            return True
        placed = buffers[: len(offsets) + 1]
        inside = [o for o in overlaps if {o.output, o.input} <= {b.name for b in placed}]
        for offset in range(0, size - placed[-1].size + 1, 4):
            trial = offsets | {placed[-1].name: offset}
            try:
                check(Plan(trial, size, 0), placed, inside)
            except ValueError:
                continue
            if extend(trial):
                return True
        return False

    return extend({})


@settings(max_examples=150)
@given(problems(most=4, largest=24))
def test_no_smaller_arena_holds_a_few_buffers(problem: tuple[list[Buffer], list[Overlap]]) -> None:
    buffers, overlaps = problem
    found = plan(buffers, overlaps)
    assert found.bound <= found.size
    assert all(offset % 4 == 0 for offset in found.offsets.values())
    check(found, buffers, overlaps)
    assert not fits(buffers, overlaps, found.size - 1)


@settings(max_examples=30)
@given(problems(most=12, largest=50))
def test_many_buffers_are_in_nobodys_way_and_near_the_bound(problem: tuple[list[Buffer], list[Overlap]]) -> None:
    buffers, overlaps = problem
    found = plan(buffers, overlaps)
    check(found, buffers, overlaps)
    busiest = max(sum(b.size for b in buffers if b.first <= step <= b.last) for step in range(13))
    assert found.bound <= found.size <= 2 * busiest + 4 * len(buffers)
    assert plan(buffers, overlaps) == found


@dataclass(frozen=True)
class Convolution:
    """Rows of a picture: `kernel` rows of the input give a row of the output."""

    kernel: int
    stride: int
    before: int
    row_in: int
    row_out: int
    rows_in: int

    @property
    def rows_out(self) -> int:
        return -(-self.rows_in // self.stride)

    def reads(self, row: int) -> range:
        start = row * self.stride - self.before
        return range(max(start, 0), min(start + self.kernel, self.rows_in))

    @property
    def lead(self) -> int:
        """Smallest distance that keeps row r of the output off the rows that r + 1 and later ones read."""
        distances = [
            (row + 1) * self.row_out - self.reads(later)[0] * self.row_in
            for row in range(self.rows_out)
            for later in range(row + 1, self.rows_out)
            if len(self.reads(later))
        ]
        return max(0, *distances) if distances else 0


@st.composite
def chains(draw: st.DrawFn) -> list[Convolution]:
    rows, width, layers = draw(st.integers(1, 9)), draw(st.integers(1, 8)), []
    for _ in range(draw(st.integers(1, 4))):
        kernel = draw(st.integers(1, 3))
        layer = Convolution(
            kernel, draw(st.integers(1, 2)), draw(st.integers(0, kernel - 1)), width, draw(st.integers(1, 8)), rows
        )
        layers.append(layer)
        rows, width = layer.rows_out, layer.row_out
    return layers


@settings(max_examples=150)
@given(chains(), st.booleans())
def test_rows_of_a_chain_of_convolutions_survive_until_they_are_read(chain: list[Convolution], kept: bool) -> None:
    """Runs a chain on one list of tokens; the kernel reads all rows of one output row, then writes that row."""
    sizes = [chain[0].rows_in * chain[0].row_in, *(layer.rows_out * layer.row_out for layer in chain)]
    last = [*range(len(chain)), len(chain) - 1]
    last[0] = len(chain) if kept else 0  # a residual branch holds on to the first tensor
    buffers = [Buffer(f"t{i}", size, max(i - 1, 0), last[i]) for i, size in enumerate(sizes)]
    overlaps = [Overlap(f"t{i + 1}", f"t{i}", layer.lead) for i, layer in enumerate(chain)]
    found = plan(buffers, overlaps)
    memory: list[tuple[int, int] | None] = [None] * found.size
    places = [found.offsets[buffer.name] for buffer in buffers]
    memory[places[0] : places[0] + sizes[0]] = [(0, k) for k in range(sizes[0])]
    for i, layer in enumerate(chain):
        for row in range(layer.rows_out):
            for read in layer.reads(row):
                for k in range(read * layer.row_in, (read + 1) * layer.row_in):
                    assert memory[places[i] + k] == (i, k)
            for k in range(row * layer.row_out, (row + 1) * layer.row_out):
                memory[places[i + 1] + k] = (i + 1, k)
    if kept:
        assert memory[places[0] : places[0] + sizes[0]] == [(0, k) for k in range(sizes[0])]


def test_output_lies_over_the_input_that_ends_with_it() -> None:
    image, output = Buffer("image", 100, 0, 0), Buffer("output", 80, 0, 1)
    found = plan([image, output], [Overlap("output", "image", 12)])
    assert found == Plan({"image": 12, "output": 0}, 112, 112)


def test_growing_output_begins_before_its_input() -> None:
    buffers = [Buffer("narrow", 20, 0, 1), Buffer("wide", 80, 1, 2)]
    assert plan(buffers, [Overlap("wide", "narrow", 60)]) == Plan({"narrow": 60, "wide": 0}, 80, 80)


def test_input_that_is_still_needed_is_not_overwritten() -> None:
    buffers = [Buffer("block", 40, 0, 2), Buffer("branch", 40, 1, 2)]
    assert plan(buffers, [Overlap("branch", "block", 0)]).size == 80


@pytest.mark.parametrize(
    ("offsets", "size", "message"),
    [
        ({"a": 0, "b": 3}, 8, "a at 0, 4 bytes and b at 3, 4 bytes overlap"),
        ({"a": 0, "b": 5}, 8, "b at 5, 4 bytes, is outside the arena of 8"),
        ({"a": -1, "b": 4}, 8, "a at -1, 4 bytes, is outside"),
    ],
)
def test_check_names_the_buffers_at_fault(offsets: dict[str, int], size: int, message: str) -> None:
    buffers = [Buffer("a", 4, 0, 1), Buffer("b", 4, 1, 1)]
    with pytest.raises(ValueError, match=re.escape(message)):
        check(Plan(offsets, size, 0), buffers, [])


def test_check_knows_the_direction_of_a_lead() -> None:
    buffers, overlaps = [Buffer("in", 8, 0, 1), Buffer("out", 8, 1, 2)], [Overlap("out", "in", 2)]
    good = Plan({"in": 2, "out": 0}, 10, 0)
    check(good, buffers, overlaps)
    for offsets in ({"in": 0, "out": 2}, {"in": 1, "out": 0}):
        with pytest.raises(ValueError, match="overlap"):
            check(replace(good, offsets=offsets), buffers, overlaps)
