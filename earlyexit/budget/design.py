"""What a network would cost on a device, measured on its blueprint: multiply-accumulates, weights, flash, SRAM."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from math import prod

from earlyexit.budget.blueprint import blueprint
from earlyexit.model.architecture import Architecture
from earlyexit.tflite import arena
from earlyexit.tflite.arena import Arena, Peak
from earlyexit.tflite.reader import interface, operators

SLACK = 128  # bytes of flash by which a trained file may differ from its blueprint


@dataclass(frozen=True)
class Part:
    """One .tflite file of a network.

    Attributes:
        name: of its classifier.
        blocks: parts of the backbone, in order.
        features: shape (H, W, C) of what the last of them gives.
        macs, weights: multiply-accumulates; numbers that training sets, biases included; the exit head's too.
        flash, kept: bytes of the file, and of the features kept for the next segment.
        arena: what TFLM measures.
        peak: the operator at which most activation bytes are alive.
    """

    name: str
    blocks: list[str]
    features: tuple[int, ...]
    macs: int
    weights: int
    flash: int
    arena: Arena
    kept: int
    peak: Peak

    @property
    def sram(self) -> int:
        """Bytes of arena and of features kept beside it."""
        return self.arena.total + self.kept


@dataclass(frozen=True)
class Design:
    """A network with early exits, and the baseline: the same backbone in one file, without them."""

    segments: list[Part]
    baseline: Part

    @property
    def flash(self) -> int:
        """Bytes of all segments."""
        return sum(part.flash for part in self.segments)

    @property
    def largest(self) -> Part:
        """The segment that needs most SRAM; a device reuses one arena, so the network needs no more."""
        return max(self.segments, key=lambda part: part.sram)


def survey(architecture: Architecture) -> Design:
    """Measure the blueprint of `architecture` and of its baseline.

    Raises:
        ValueError: TFLM cannot load a file, for one because its activations are beyond any device's memory.
    """
    plain = Architecture(backbone=architecture.backbone, resolution=architecture.resolution)
    (baseline,) = _parts(plain)
    return Design(_parts(architecture), baseline)


def markdown(design: Design) -> str:
    """Return a Markdown table: a line for each segment, for all of them, for the baseline."""
    lines = [
        "| file | blocks | features | MACs (M) | cumulative, of baseline | weights | flash | arena head | arena tail "
        "| features kept | SRAM |",
        "|---|---|---|" + "---:|" * 8,
    ]
    spent = list(accumulate(part.macs for part in design.segments))
    whole = design.baseline.macs
    for number, (part, sofar) in enumerate(zip(design.segments, spent, strict=True), start=1):
        lines.append(_line(f"segment {number} ({part.name})", part, sofar / whole))
    weights = sum(part.weights for part in design.segments)
    lines.append(
        f"| **early-exit network** | | | **{spent[-1] / 1e6:.3f}** | **{spent[-1] / whole:.1%}** | **{weights:,}** "
        f"| **{design.flash:,}** | | | | **{design.largest.sram:,}** |"
    )
    lines.append(_line("baseline", design.baseline, 1))
    lines += ["", "Bytes, but for MACs and weights. Arena as TFLM measures it, on random weights."]
    return "\n".join(lines) + "\n"


def verdict(design: Design, flash_limit: int, sram_limit: int) -> str:
    """Return two lines that hold the network against a budget in bytes and name the layer at which its memory peaks."""
    largest = design.largest
    number = design.segments.index(largest) + 1
    return (
        f"flash: {_against(design.flash, flash_limit)}\n"
        f"SRAM: {_against(largest.sram, sram_limit)}; segment {number} ({largest.name}) peaks at {largest.peak}\n"
    )


def check(design: Design, flash_limit: int, sram_limit: int) -> None:
    """Hold the network against a budget in bytes.

    Raises:
        ValueError: it is over, whatever its weights become; names the limit, the figure, and the layer that peaks.
    """
    largest = design.largest
    wrong = []
    if design.flash > flash_limit + SLACK * len(design.segments):
        part = max(design.segments, key=lambda part: part.flash)
        wrong.append(
            f"memory.flash_limit: the network needs {design.flash:,} of {flash_limit:,} bytes, most of it "
            f"({part.flash:,}) from {_span(part.blocks)}"
        )
    if largest.sram > sram_limit:
        wrong.append(
            f"memory.sram_limit: the network needs {largest.sram:,} of {sram_limit:,} bytes; "
            f"the segment of {largest.name} peaks at {largest.peak}"
        )
    if wrong:
        raise ValueError(f"{'; '.join(wrong)}. Raise the limit or shrink the network: python -m earlyexit.budget")


def _parts(architecture: Architecture) -> list[Part]:
    # TFLM runs in a process of its own for each file.
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_part, architecture.outputs, architecture.segment_blocks, blueprint(architecture)))


def _part(name: str, blocks: list[str], model: bytes) -> Part:
    found = operators(model)
    layers = [operator for operator in found if operator.macs]
    _, outputs = interface(model)
    last = len(outputs) == 1
    try:
        measured = arena.measure(model)
    except ValueError as error:
        raise ValueError(f"{_span(blocks)}: {error}; the most activations are alive at {arena.peak(model)}") from None
    pool = found[-2]  # the final classifier's sees the features themselves, an exit's may see its head's
    features = pool.inputs[0] if last else outputs[1]
    return Part(
        name=name,
        blocks=blocks,
        features=features.shape[1:],
        macs=sum(layer.macs for layer in layers),
        weights=sum(prod(tensor.shape) for layer in layers for tensor in layer.inputs[1:]),
        flash=len(model),
        arena=measured,
        kept=0 if last else prod(features.shape),
        peak=arena.peak(model),
    )


def _line(name: str, part: Part, share: float) -> str:
    features = "x".join(str(size) for size in part.features)
    return (
        f"| {name} | {_span(part.blocks)} | {features} | {part.macs / 1e6:.3f} | {share:.1%} | {part.weights:,} "
        f"| {part.flash:,} | {part.arena.head:,} | {part.arena.tail:,} | {part.kept:,} | {part.sram:,} |"
    )


def _span(blocks: list[str]) -> str:
    return blocks[0] if len(blocks) == 1 else f"{blocks[0]} to {blocks[-1]}"


def _against(found: int, limit: int) -> str:
    said = "fits" if found <= limit else f"over by {found - limit:,} bytes"
    return f"{found:,} of {limit:,} bytes: {said}"
