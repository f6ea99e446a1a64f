"""A generated library on this computer: compiled together with library.c, called through its standard input."""

import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np

STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
SANITIZED = ["gcc", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
ZIG = [sys.executable, "-m", "ziglang", "cc", "-O2"]


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


class Library:
    """The program; each `call` starts it anew."""

    def __init__(self, folder: Path, files: Mapping[str, str], compiler: Sequence[str]) -> None:
        source = Path(__file__).with_suffix(".c").read_text(encoding="utf-8")
        self._program = compile_program(folder, {**files, "library.c": source}, compiler)

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


def compile_program(folder: Path, files: Mapping[str, str], compiler: Sequence[str]) -> Path:
    """Write `files` into `folder`, compile its .c files with all warnings as errors, return the program."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    sources = sorted(name for name in files if name.endswith(".c"))
    cache = str(Path(tempfile.gettempdir(), "earlyexit-zig-cache"))
    environment = {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache, **os.environ}
    command = [*compiler, *STRICT, *sources, "-o", "program"]
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    assert process.returncode == 0, process.stderr.decode()
    return folder / "program"
