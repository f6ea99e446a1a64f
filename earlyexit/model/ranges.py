"""Ranges of activations that quantization-aware training learned, beside the weights that it trained: safetensors."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from earlyexit.common.files import replacing

FILE = "ranges.safetensors"

SegmentRanges = Sequence[tuple[float, float]]
"""The smallest and the largest value of a segment's input, and of the output of each operator, in order."""


def write(folder: Path, ranges: Sequence[SegmentRanges]) -> None:
    """Write the ranges of each segment into the existing `folder`; none: quantization has to observe them.

    Raises:
        OSError: the disk is full or the folder may not be written; names the file.
    """
    tensors = {_name(number): np.array(found, np.float32) for number, found in enumerate(ranges, start=1)}
    with replacing(folder / FILE) as part:
        part.write_bytes(save(tensors))


def read(folder: Path, segments: int) -> list[SegmentRanges] | None:
    """Return the ranges that `write` wrote for a network of so many segments; None where it wrote none.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the file is damaged or of another network, or a range is empty or not finite; names it.
    """
    path = folder / FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not found; `dvc repro --force --single-item qat@{folder.name}` writes it")
    try:
        tensors = load(path.read_bytes())
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged ({error})") from None
    if not tensors:
        return None
    names = [_name(number) for number in range(1, segments + 1)]
    if sorted(tensors) != sorted(names):
        raise ValueError(f"{path}: ranges of {', '.join(sorted(tensors))}, but the network has {', '.join(names)}")
    return [_checked(tensors[name], f"{path}: {name}") for name in names]


def _name(number: int) -> str:
    return f"segment{number}"


def _checked(ranges: np.ndarray, where: str) -> SegmentRanges:
    if ranges.dtype != np.float32 or ranges.ndim != 2 or ranges.shape[1] != 2:
        raise ValueError(f"{where}: {ranges.dtype} {ranges.shape}, expected float32 (operators + 1, 2)")
    for index, (low, high) in enumerate(ranges):
        if not (np.isfinite([low, high]).all() and min(low, 0) < max(high, 0) and low <= high):
            raise ValueError(f"{where}: range {index} is {low:g} to {high:g}; train again")
    return [(float(low), float(high)) for low, high in ranges]
