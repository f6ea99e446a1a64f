"""Measure what every set of early exits would cost on a device, on blueprints: without training."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations
from math import prod
from typing import Any

from earlyexit.budget import cycles
from earlyexit.budget.blueprint import blueprint
from earlyexit.budget.design import SLACK
from earlyexit.common.markdown import table
from earlyexit.model.architecture import HEAD_STRIDES, Architecture, Attached, Head
from earlyexit.quantization.recipe import EIGHT_BITS, WeightFormat
from earlyexit.tflite.arena import measure_all
from earlyexit.tflite.reader import Operator, operators

Exits = tuple[int, ...]
"""A set of exits: ascending numbers of the blocks that they follow, from 0."""


@dataclass(frozen=True)
class ExitCosts:
    """Costs of a network with an exit after any of its blocks, in one unit.

    Attributes:
        until: of the backbone, up to each block.
        heads: of an exit after each block.
        whole: of the baseline.
    """

    until: list[float]
    heads: list[float]
    whole: float

    def of(self, exits: Exits) -> list[float]:
        """Return the cost of an image that leaves at each classifier, the final one last; passed heads count."""
        spent = list(accumulate((self.heads[place] for place in exits), initial=0.0))
        return [self.until[place] + heads for place, heads in zip(exits, spent[1:], strict=True)] + [
            self.whole + spent[-1]
        ]


@dataclass(frozen=True)
class Alternatives:
    """All sets of early exits with one kind of head.

    Attributes:
        head: of all exits.
        blocks: names of the blocks that an exit can follow.
        macs, cycles: multiply-accumulates, and estimated cycles of a Cortex-M4.
        segments: bytes of flash and SRAM of a segment, by the block before it (-1: none) and its last (None: the end).
    """

    head: Head
    blocks: list[str]
    macs: ExitCosts
    cycles: ExitCosts
    segments: dict[tuple[int, int | None], tuple[int, int]]

    def sets(self, size: int) -> Iterator[Exits]:
        """Return all sets of `size` exits."""
        return combinations(range(len(self.blocks)), size)

    def attached(self, exits: Exits) -> Attached:
        """Return a set of exits by name."""
        return Attached(exits=[self.blocks[place] for place in exits], head=self.head)

    def memory(self, exits: Exits) -> tuple[int, int]:
        """Return the bytes of flash and SRAM of a network with these exits; a trained one's flash is hardly larger."""
        flash, sram = zip(*(self.segments[ends] for ends in _spans(exits)), strict=True)
        return sum(flash) + SLACK * len(flash), max(sram)


def survey(plain: Architecture, head: Head, channels: int, weights: WeightFormat = EIGHT_BITS) -> Alternatives:
    """Measure all sets of exits with one kind of head.

    Args:
        plain: the network without exits.
        head, channels: of each exit.
        weights: their format.

    Raises:
        ValueError: TFLM cannot load a segment.
    """
    blocks = plain.exit_blocks
    models: dict[tuple[int, int | None], bytes] = {}
    # Any segment of a larger set is also one of a set of two exits, or of one.
    for exits in [exits for size in (1, 2) for exits in combinations(range(len(blocks)), size)]:
        chosen = [blocks[place] for place in exits]
        drawn = blueprint(_with(plain, chosen, head, channels), weights)
        models |= zip(_spans(exits), drawn, strict=True)
    everywhere = [operators(model) for model in blueprint(_with(plain, blocks, head, channels), weights)]
    layers = 4 if head in HEAD_STRIDES else 2  # depthwise, pointwise, mean, linear
    kept = [prod(found[-layers].inputs[0].shape) for found in everywhere[:-1]]  # features, which the head reads
    return Alternatives(
        head=head,
        blocks=blocks,
        macs=_costs(everywhere, layers, lambda found: sum(operator.macs for operator in found)),
        cycles=_costs(everywhere, layers, cycles.estimate),
        segments={
            ends: (len(model), arena.total + (0 if ends[1] is None else kept[ends[1]]))
            for (ends, model), arena in zip(models.items(), measure_all(list(models.values())), strict=True)
        },
    )


def over_budget(found: Alternatives, size: int, flash_limit: int, sram_limit: int) -> dict[str, Any]:
    """Return how many sets of `size` exits are over the limits in bytes, and how many are within both."""
    needs = list(map(found.memory, found.sets(size)))
    over_flash, over_sram = [flash > flash_limit for flash, _ in needs], [sram > sram_limit for _, sram in needs]
    return {
        "exits": size,
        "head": found.head,
        "sets": len(needs),
        "over_flash": sum(over_flash),
        "over_sram": sum(over_sram),
        "within": sum(not (flash or sram) for flash, sram in zip(over_flash, over_sram, strict=True)),
    }


def markdown(rows: Sequence[dict[str, Any]], flash_limit: int, sram_limit: int) -> str:
    """Return the rows of `over_budget` as a Markdown table."""
    cells = [[str(row["exits"]), row["head"], *(str(row[key]) for key in _COUNTS)] for row in rows]
    lines = table(["exits", "head", "sets", "over flash", "over SRAM", "within the budget"], cells, labels=2)
    note = f"Sets of exits, and how many of them a budget of {flash_limit:,} bytes of flash and {sram_limit:,} of SRAM"
    return "\n".join([*lines, "", f"{note} rules out."]) + "\n"


_COUNTS = ("sets", "over_flash", "over_sram", "within")


def check(alternatives: Sequence[Alternatives], most: int, flash_limit: int, sram_limit: int) -> None:
    """Check that the budget leaves a set of exits.

    Raises:
        ValueError: no set is within both limits, in bytes; names the limit and the smallest need.
    """
    sizes = range(1, most + 1)
    needs = {
        name(found.attached(exits)): found.memory(exits)
        for found in alternatives
        for size in sizes
        for exits in found.sets(size)
    }
    if any(flash <= flash_limit and sram <= sram_limit for flash, sram in needs.values()):
        return
    wrong = []
    for index, (leaf, limit) in enumerate((("flash_limit", flash_limit), ("sram_limit", sram_limit))):
        smallest, need = min(needs.items(), key=lambda item: item[1][index])
        if need[index] > limit:
            least = f"the smallest set of exits, {smallest}, needs {need[index]:,} of {limit:,} bytes"
            wrong.append(f"memory.{leaf}: {least}")
    both = "memory.flash_limit and memory.sram_limit: some sets of exits fit each of them, none fits both"
    raise ValueError(f"{'; '.join(wrong) or both}. Raise the limit, shrink the network, or set exits.placement: given")


def name(attached: Attached) -> str:
    """Return a set in words: "block2, block4 (pooled)"."""
    return f"{', '.join(attached.exits)} ({attached.head})"


def _with(plain: Architecture, exits: list[str], head: Head, channels: int) -> Architecture:
    return plain.with_exits(Attached(exits=exits, head=head), channels)


def _spans(exits: Exits) -> list[tuple[int, int | None]]:
    return list(zip((-1, *exits), (*exits, None), strict=True))


def _costs(segments: Sequence[list[Operator]], layers: int, cost: Callable[[Sequence[Operator]], float]) -> ExitCosts:
    *early, final = segments
    until = list(accumulate(cost(found[:-layers]) for found in early))
    return ExitCosts(until, [cost(found[-layers:]) for found in early], until[-1] + cost(final))
