"""Measure the memory that TensorFlow Lite Micro (TFLM) needs for a .tflite file, and run TFLM.

TFLM itself measures, built for this computer with its reference kernels. A device needs the same activations (head);
its optimized kernels may add scratch memory. The bookkeeping (tail) is mostly 8 bytes per output channel, on every
device. Its pointers have 64 bits here; a 32-bit device saves 12 bytes per tensor and 32 per operator.
"""

import math
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from earlyexit.tflite import reader

_ALIGNMENT = 16  # of every tensor in the arena: MicroArenaBufferAlignment() in TFLM
_ARENA_BYTES = 1 << 24  # more than any model needs: TFLM ends the process if the arena is too small
_TIMEOUT = 300  # seconds; TFLM needs one
_PROBE = f"""
import sys
from tflite_micro import runtime
for size in map(int, sys.argv[1:]):
    runtime.Interpreter.from_bytes(sys.stdin.buffer.read(size), arena_size={_ARENA_BYTES}).print_allocations()
"""


@dataclass(frozen=True)
class Arena:
    """Bytes of a TFLM arena: `head` for activations, `tail` for data that stay alive, `total` of both."""

    head: int
    tail: int
    total: int


@dataclass(frozen=True)
class Peak:
    """The operator at which the most bytes are alive in the head: its number, name, and activation shapes."""

    index: int
    name: str
    bytes: int
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]

    def __str__(self) -> str:
        return f"{self.name} {_shapes(self.inputs)} -> {_shapes(self.outputs)} ({self.bytes:,} bytes)"


def measure(model: bytes) -> Arena:
    """Return the arena that TFLM reports for the .tflite file `model`: the smallest in which it runs, to 16 bytes.

    TFLM runs in a process of its own: it prints the sizes, and a model that it cannot load may end the process.

    Raises:
        ValueError: `model` is no .tflite file, has weights behind the flatbuffer, where TFLM misses them (`compact`
            moves them), or TFLM cannot load it.
    """
    return measure_all([model])[0]


def measure_all(models: Sequence[bytes]) -> list[Arena]:
    """Return the arena of each .tflite file, as `measure`, by one process for all.

    Raises:
        ValueError: as `measure`, for any of the files.
    """
    for model in models:
        _check_weights(model)
    command = [sys.executable, "-P", "-c", _PROBE, *(str(len(model)) for model in models)]
    try:
        process = subprocess.run(command, input=b"".join(models), capture_output=True, check=False, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"TFLM does not load the model within {_TIMEOUT} seconds") from error
    printed = process.stderr.decode(errors="replace")
    if process.returncode != 0:
        raise ValueError(f"TFLM cannot load the model (exit code {process.returncode}): {_reason(printed)}")
    lines = re.findall(r"^\[RecordingMicroAllocator\] Arena allocation (\w+) (\d+) bytes\r?$", printed, re.MULTILINE)
    arenas = [{name: int(size) for name, size in lines[i : i + 3]} for i in range(0, len(lines), 3)]
    whole = all(sizes.keys() == {"head", "tail", "total"} for sizes in arenas)
    if not whole or len(arenas) != len(models) or any(a["head"] + a["tail"] != a["total"] for a in arenas):
        raise ValueError(f"expected three sizes of the arena from tflite-micro, found: {printed!r}")
    return [Arena(**sizes) for sizes in arenas]


def peak(model: bytes) -> Peak:
    """Return the operator at which the .tflite file `model` needs most activation memory.

    A tensor is alive from the operator that writes it to the last operator that reads it; an input of the model from
    the start, an output to the end. An operator with weights of four bits has them unpacked to eight in the arena. The
    bytes are a lower bound of the arena's head. TFLM's planner mostly meets it.

    Raises:
        ValueError: as `measure`, or a tensor has a type without a size in bytes.
    """
    _check_weights(model)
    operators = reader.operators(model)
    inputs, outputs = reader.interface(model)
    first = dict.fromkeys(inputs, 0)
    last: dict[reader.Tensor, int] = {}
    for step, operator in enumerate(operators):
        for tensor in operator.activations:
            last[tensor] = step
        for tensor in operator.outputs:
            first[tensor] = last[tensor] = step
    last.update(dict.fromkeys(outputs, len(operators) - 1))

    alive = [0] * len(operators)
    for tensor, begin in first.items():
        for step in range(begin, last.get(tensor, begin) + 1):
            alive[step] += _arena_bytes(tensor)
    for step, operator in enumerate(operators):
        alive[step] += sum(_aligned(math.prod(tensor.shape)) for tensor in operator.inputs if tensor.dtype == "int4")
    index = max(range(len(operators)), key=alive.__getitem__)
    top = operators[index]
    shapes = [tuple(tensor.shape for tensor in end) for end in (top.activations, top.outputs)]
    return Peak(index, top.name, alive[index], *shapes)


def run(model: bytes, inputs: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """Return TFLM's answers to `inputs`: for each output of the model an array (n, ...).

    TFLM is the reference that other runtimes are compared with. It takes milliseconds an image.

    Args:
        model: .tflite file with one input.
        inputs: (n, H, W, C) in the type of that input, int8; they run one by one.

    Raises:
        ValueError: as `measure`, or `inputs` does not fit the model.
    """
    from tflite_micro import runtime

    _check_weights(model)
    expected, outputs = reader.interface(model)
    if len(expected) != 1:
        raise ValueError(f"model with {len(expected)} inputs, expected 1")
    if inputs.shape[1:] != expected[0].shape[1:] or inputs.dtype != expected[0].dtype:
        wanted = ("n", *expected[0].shape[1:])
        raise ValueError(f"inputs are {inputs.dtype} {inputs.shape}, the model takes {expected[0].dtype} {wanted}")
    try:
        interpreter = runtime.Interpreter.from_bytes(model, arena_size=_ARENA_BYTES)
    except RuntimeError as error:
        raise ValueError(f"TFLM cannot load the model: {error}") from error
    answers = [np.empty((len(inputs), *tensor.shape[1:]), tensor.dtype) for tensor in outputs]
    for row, image in enumerate(tqdm(inputs, desc="TFLM", unit="image", leave=False, delay=2)):
        interpreter.set_input(image[None], 0)
        interpreter.invoke()
        for number, answer in enumerate(answers):
            answer[row] = interpreter.get_output(number)[0]
    return answers


def _check_weights(model: bytes) -> None:
    # TFLM loads such a file without an error, and takes those weights for activations.
    if count := reader.outside_buffers(model):
        raise ValueError(f"{count} buffers lie behind the flatbuffer, where TFLM misses them: use tflite.compact")


def _reason(printed: str) -> str:
    """Return what TFLM printed before Python's traceback, or the last line of the traceback."""
    message = printed.partition("Traceback")[0].strip() or printed.strip().rpartition("\n")[2]
    return " ".join(message.split()) or "no message"


def _arena_bytes(tensor: reader.Tensor) -> int:
    try:
        size = math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize
    except TypeError as error:
        raise ValueError(f"tensor {tensor.index} is of type {tensor.dtype}, which has no size in bytes") from error
    return _aligned(size)


def _aligned(size: int) -> int:
    return math.ceil(size / _ALIGNMENT) * _ALIGNMENT


def _shapes(shapes: tuple[tuple[int, ...], ...]) -> str:
    return " + ".join("x".join(str(size) for size in shape[1:]) for shape in shapes)
