"""Pieces of generated C: templates, literals, tables, and words of comments."""

from collections.abc import Sequence
from pathlib import Path
from string import Template

import numpy as np

_PER_ROW = 16
_TEMPLATES = Path(__file__).with_name("templates")
_PLAIN = frozenset(range(32, 127)) - frozenset(b'"\\?')


def fill(template: str, **values: object) -> str:
    """Return the file `template` of the folder templates with each $name replaced by the value of that name."""
    return Template((_TEMPLATES / template).read_text(encoding="utf-8")).substitute(values)


def float_literal(value: float) -> str:
    """Return the shortest C literal of type float that gives `value` in 32 bits."""
    return f"{np.float32(value)!s}f"


def signed(value: int) -> str:
    """Return an integer that is safe in any expression: a negative one stands in parentheses."""
    return f"({value})" if value < 0 else str(value)


def text_literal(text: str) -> str:
    """Return a C string literal; characters that are not plain ASCII become octal bytes of UTF-8."""
    return '"' + "".join(chr(byte) if byte in _PLAIN else f"\\{byte:03o}" for byte in text.encode()) + '"'


def shape_text(shape: Sequence[int]) -> str:
    """Return a shape as in 96x96x3."""
    return "x".join(str(size) for size in shape)


def count(number: int, noun: str) -> str:
    """Return a number with its noun: "1 layer", "2 layers"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def rows(values: Sequence[object], indent: int) -> str:
    """Return the values of a C array, 16 a line, each line indented by `indent` spaces."""
    lines = [values[start : start + _PER_ROW] for start in range(0, len(values), _PER_ROW)]
    return "\n".join(f"{' ' * indent}{', '.join(map(str, line))}," for line in lines)


def origin(percentile: int | None) -> str:
    """Return where thresholds come from, to follow "default thresholds"; nothing if `percentile` is None."""
    return "" if percentile is None else f": percentile {percentile} of the calibration images"
