"""A generated library on this computer: compiled together with library.c, called through its standard input."""

import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from tests.firmware import host


class Status(IntEnum):
    OK = 0
    NULL = -1
    RANGE = -2
    STATE = -3


class Source(IntEnum):
    """Where the input of a call lies."""

    NOTHING = 0  # NULL
    IN_PLACE = 1  # at ee_input()
    OUTSIDE = 2  # on the heap
    LEFT = 3  # at ee_features() of the segment before
    STALE = 4  # where ee_features() of the segment before once was
    ASTRAY = 5  # a byte behind ee_input()


@dataclass(frozen=True)
class Call:
    """A function of ee.h with its integers; `data` is what a pointer points to."""

    function: int
    arguments: tuple[int, ...] = ()
    data: bytes = b""

    def encode(self) -> bytes:
        integers = [self.function, *self.arguments, *[0] * (4 - len(self.arguments)), len(self.data)]
        return struct.pack("<6I", *(value & 0xFFFFFFFF for value in integers)) + self.data


def init() -> Call:
    return Call(0)


def has_aligned_input() -> Call:
    return Call(1)


def run(source: Source, image: np.ndarray | None = None, *, result: bool = True) -> Call:
    return Call(2, (source, result), b"" if image is None else image.tobytes())


def run_segment(segment: int, source: Source, values: np.ndarray | None = None, *, logits: bool = True) -> Call:
    return Call(3, (segment, source, logits), b"" if values is None else values.tobytes())


def features(segment: int, size: int) -> Call:
    return Call(4, (segment, size))


def set_threshold(number: int, margin: int) -> Call:
    return Call(5, (number, margin))


def get_threshold(number: int) -> Call:
    return Call(6, (number,))


def quantize() -> Call:
    return Call(7)


def set_patience(classifiers: int) -> Call:
    return Call(8, (classifiers,))


def get_patience() -> Call:
    return Call(9)


class Library:
    """The program; each `call` starts it anew."""

    def __init__(self, folder: Path, files: Mapping[str, str], **options: Any) -> None:
        source = Path(__file__).with_suffix(".c").read_text(encoding="utf-8")
        self._program = host.build_texts({**files, "library.c": source}, folder, **options)

    def call(self, calls: Sequence[Call]) -> list[tuple[int, bytes]]:
        """Return status and data of each call; fails where a sanitizer stops the program."""
        process = subprocess.run(
            [self._program], input=b"".join(call.encode() for call in calls), capture_output=True, check=False
        )
        assert process.returncode == 0, process.stderr.decode()
        answers = []
        rest = process.stdout
        while rest:
            status, size = struct.unpack_from("<iI", rest)
            answers.append((status, rest[8 : 8 + size]))
            rest = rest[8 + size :]
        return answers
