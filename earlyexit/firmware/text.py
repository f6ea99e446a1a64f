"""Pieces of generated C: templates, literals, and what comments say."""

from collections.abc import Sequence
from pathlib import Path
from string import Template

import numpy as np

_TEMPLATES = Path(__file__).with_name("templates")
_PLAIN = frozenset(range(32, 127)) - frozenset(b'"\\?')


def fill(template: str, **values: object) -> str:
    """Return the file `template` of the folder templates, each $name in it replaced by the value of that name."""
    return Template((_TEMPLATES / template).read_text(encoding="utf-8")).substitute(values)


def float_literal(value: float) -> str:
    """Return a C literal of type float: the shortest that gives `value` in 32 bits."""
    return f"{np.float32(value)!s}f"


def signed(value: int) -> str:
    """Return an integer that is safe in any expression: in parentheses where it is negative."""
    return f"({value})" if value < 0 else str(value)


def text_literal(text: str) -> str:
    """Return a C string literal; what is not plain ASCII as octal bytes of its UTF-8."""
    return '"' + "".join(chr(byte) if byte in _PLAIN else f"\\{byte:03o}" for byte in text.encode()) + '"'


def shape_text(shape: Sequence[int]) -> str:
    """Return a shape as in 96x96x3."""
    return "x".join(str(size) for size in shape)


def count(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it is not 1."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
