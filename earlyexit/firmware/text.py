"""Pieces of generated C: templates, literals, tables, and words of comments."""

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from string import Template

import numpy as np

from earlyexit.policy.policies import Policy

_PER_ROW = 16
_TEMPLATES = Path(__file__).with_name("templates")
_PLAIN = frozenset(range(32, 127)) - frozenset(b'"\\?')
_COMMENT_WIDTH = 107
_COMMENT_MARKS = re.compile(r"\*(?=/)|/(?=\*)")


def fill(template: str, **values: object) -> str:
    """Return the file `template` of the folder templates with each $name replaced by the value of that name."""
    return Template((_TEMPLATES / template).read_text(encoding="utf-8")).substitute(values)


def float_literal(value: float) -> str:
    """Return the shortest C literal of type float that gives `value` in 32 bits."""
    return f"{np.float32(value)!s}f"


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


def comment(text: str) -> str:
    """Return a text as lines within a C comment, each behind " * ".

    Any text is safe: marks that begin or end a comment are pulled apart, and of a character that is not plain ASCII, a
    "#" is left.
    """
    words = "".join(char if ord(char) in _PLAIN or char == '"' else "#" for char in " ".join(text.split()))
    return "\n".join(f" * {line}" for line in textwrap.wrap(_COMMENT_MARKS.sub(r"\g<0> ", words), _COMMENT_WIDTH))


def policy_comment(policy: Policy) -> str:
    """Return lines within a C comment that name the exit policy, with its promise and its note."""
    sentences = [f"The exit policy that is built in: {policy.name}."]
    if policy.promise:
        sentences.append(f"Promise: {policy.promise}")
    if policy.note:
        sentences.append(policy.note)
    return "\n".join(map(comment, sentences))
