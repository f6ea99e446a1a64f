"""Measure what a network would cost on a device, on its blueprint: MACs, weights, flash and SRAM."""

from dataclasses import dataclass
from itertools import accumulate
from math import prod

from earlyexit.budget import limits
from earlyexit.budget.blueprint import blueprint
from earlyexit.budget.limits import Footprint
from earlyexit.common.markdown import bold, millions, percent, table, thousands
from earlyexit.model.architecture import Architecture
from earlyexit.quantization.recipe import EIGHT_BITS, WeightFormat
from earlyexit.tflite.reader import interface, logits_and_features, operators

SLACK = 128  # bytes of flash by which a trained file may differ from its blueprint


@dataclass(frozen=True)
class Part:
    """One .tflite file of a network.

    Attributes:
        footprint: its memory.
        blocks: parts of the backbone in it, in order.
        features: shape (H, W, C) of the output of the last block.
        macs: multiply-accumulates, those of the exit head included.
        weights: trained numbers, biases and those of the exit head included.
    """

    footprint: Footprint
    blocks: list[str]
    features: tuple[int, ...]
    macs: int
    weights: int


@dataclass(frozen=True)
class Design:
    """A network with early exits, and its baseline: the same backbone in one file, without early exits."""

    segments: list[Part]
    baseline: Part

    @property
    def footprints(self) -> list[Footprint]:
        """The memory of each segment."""
        return [part.footprint for part in self.segments]


def survey(architecture: Architecture, weights: WeightFormat = EIGHT_BITS) -> Design:
    """Measure the blueprint of `architecture` and of its baseline, with `weights` of this format.

    Raises:
        ValueError: TFLM cannot load a file, as `limits.measure_all`.
    """
    (baseline,) = _parts(architecture.without_exits(), weights)
    return Design(_parts(architecture, weights), baseline)


def markdown(design: Design) -> str:
    """Return a Markdown table with a row for each segment, for the whole network, and for the baseline."""
    spent = list(accumulate(part.macs for part in design.segments))
    shares = [macs / design.baseline.macs for macs in spent]
    rows = [
        _cells(f"segment {number} ({part.footprint.name})", part, share)
        for number, (part, share) in enumerate(zip(design.segments, shares, strict=True), start=1)
    ]
    weights, flash = sum(part.weights for part in design.segments), limits.flash(design.footprints)
    work = [millions(spent[-1], 3), _percent(shares[-1]), thousands(weights), thousands(flash)]
    sram = thousands(limits.largest(design.footprints).sram)
    rows.append([bold("early-exit network"), "", "", *map(bold, work), "", "", "", bold(sram)])
    rows.append(_cells("baseline", design.baseline, 1))
    heads = ["file", "blocks", "features", "MACs (M)", "cumulative, of baseline", "weights", "flash", "arena head"]
    heads += ["arena tail", "features kept", "SRAM"]
    lines = [*table(heads, rows, labels=3), ""]
    lines.append("Bytes, but for MACs and weights. Arena as TFLM measures it, on random weights.")
    return "\n".join(lines) + "\n"


def verdict(design: Design, flash_limit: int, sram_limit: int) -> str:
    """Return two lines that compare flash and SRAM with limits in bytes; the second names the layer at the peak."""
    segments = design.footprints
    largest = limits.largest(segments)
    number = segments.index(largest) + 1
    return (
        f"flash: {_against(limits.flash(segments), flash_limit)}\n"
        f"SRAM: {_against(largest.sram, sram_limit)}; segment {number} ({largest.name}) peaks at {largest.peak}\n"
    )


def check(design: Design, flash_limit: int, sram_limit: int) -> None:
    """Compare the network with limits in bytes; let pass what some trained weights might fit.

    Raises:
        ValueError: as `limits.check`.
    """
    limits.check(design.footprints, flash_limit, sram_limit, slack=SLACK * len(design.segments))


def _parts(architecture: Architecture, weights: WeightFormat) -> list[Part]:
    models = blueprint(architecture, weights)
    footprints = limits.measure_all(architecture.outputs, models)
    return list(map(_part, footprints, architecture.segment_blocks, models))


def _part(footprint: Footprint, blocks: list[str], model: bytes) -> Part:
    found = operators(model)
    layers = [operator for operator in found if operator.macs]
    _, features = logits_and_features(interface(model)[1])
    if features is None:
        features = found[-2].inputs[0]  # the final classifier's pool reads the output of the last block
    return Part(
        footprint=footprint,
        blocks=blocks,
        features=features.shape[1:],
        macs=sum(layer.macs for layer in layers),
        weights=sum(prod(tensor.shape) for layer in layers for tensor in layer.inputs[1:]),
    )


def _cells(name: str, part: Part, share: float) -> list[str]:
    features, need = "x".join(str(size) for size in part.features), part.footprint
    numbers = part.weights, need.flash, need.arena.head, need.arena.tail, need.kept, need.sram
    return [name, _span(part.blocks), features, millions(part.macs, 3), _percent(share), *map(thousands, numbers)]


def _percent(share: float) -> str:
    return f"{percent(share, 1)}%"


def _span(blocks: list[str]) -> str:
    return blocks[0] if len(blocks) == 1 else f"{blocks[0]} to {blocks[-1]}"


def _against(found: int, limit: int) -> str:
    verdict = "fits" if found <= limit else f"over by {found - limit:,} bytes"
    return f"{found:,} of {limit:,} bytes: {verdict}"
