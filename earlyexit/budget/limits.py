"""Measure the memory that segments need, and compare it with the device's limits."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from earlyexit.tflite import arena, reader
from earlyexit.tflite.arena import Arena, Peak


@dataclass(frozen=True)
class Footprint:
    """The memory that a segment needs.

    Attributes:
        name: of its classifier.
        flash: bytes of the .tflite file.
        arena: what TFLM measures.
        kept: bytes of the features that stay beside the arena while the next segment starts.
        peak: the operator at which the most activation bytes are alive.
    """

    name: str
    flash: int
    arena: Arena
    kept: int
    peak: Peak

    @property
    def sram(self) -> int:
        """Bytes of the arena and of the kept features."""
        return self.arena.total + self.kept


def measure_all(names: Sequence[str], models: Sequence[bytes]) -> list[Footprint]:
    """Return the footprint of each .tflite file; `names` are those of their classifiers.

    Raises:
        ValueError: TFLM cannot load a file, for example because no device has memory for its activations.
    """
    try:
        arenas = arena.measure_all(models)
    except ValueError:
        arenas = list(map(_arena, names, models))  # one by one, to name the file
    return list(map(_footprint, names, models, arenas))


def _arena(name: str, model: bytes) -> Arena:
    try:
        return arena.measure(model)
    except ValueError as error:
        peak = arena.peak(model)
        raise ValueError(f"the segment of {name}: {error}; the most activations are alive at {peak}") from None


def _footprint(name: str, model: bytes, measured: Arena) -> Footprint:
    _, features = reader.logits_and_features(reader.interface(model)[1])
    kept = 0 if features is None else prod(features.shape)
    return Footprint(name, len(model), measured, kept, arena.peak(model))


def flash(segments: Sequence[Footprint]) -> int:
    """Return the bytes of flash of a network: all segments are stored."""
    return sum(segment.flash for segment in segments)


def largest(segments: Sequence[Footprint]) -> Footprint:
    """Return the segment that needs most SRAM: a network needs no more, since its segments share one arena."""
    return max(segments, key=lambda segment: segment.sram)


def check(segments: Sequence[Footprint], flash_limit: int, sram_limit: int, slack: int = 0) -> None:
    """Compare a network with the limits of flash and SRAM, in bytes.

    Args:
        segments: of the network.
        flash_limit, sram_limit: `memory.flash_limit` and `memory.sram_limit` in params.yaml.
        slack: bytes of flash that the network may take beyond the limit.

    Raises:
        ValueError: the network needs more; names the limit, the bytes, and the segment or layer that needs most.
    """
    wrong = []
    if flash(segments) > flash_limit + slack:
        part = max(segments, key=lambda segment: segment.flash)
        wrong.append(
            f"memory.flash_limit: the network needs {flash(segments):,} of {flash_limit:,} bytes; "
            f"the largest file is the segment of {part.name}, {part.flash:,} bytes"
        )
    part = largest(segments)
    if part.sram > sram_limit:
        wrong.append(
            f"memory.sram_limit: the network needs {part.sram:,} of {sram_limit:,} bytes; "
            f"the segment of {part.name} peaks at {part.peak}"
        )
    if wrong:
        raise ValueError(f"{'; '.join(wrong)}. Raise the limit or shrink the network: python -m earlyexit.budget")
