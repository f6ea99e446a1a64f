"""The memory that TensorFlow Lite Micro (TFLM) needs for a .tflite file, and its answers.

Measured by TFLM itself, built for this computer with its reference kernels. Activations (head) are what a device
needs too; a device's optimized kernels may add scratch memory. The bookkeeping (tail) is mostly 8 bytes per output
channel, the same everywhere; its pointers have 64 bits here, so a 32-bit device needs less: 12 bytes per tensor, 32 per
operator.
"""

import math
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from earlyexit.tflite import reader

_ALIGNMENT = 16  # of every tensor in the arena: MicroArenaBufferAlignment() in TFLM
_ARENA_BYTES = 1 << 24  # what the measured arena lies in; a tight one ends the process instead of raising
_PATIENCE = 300  # seconds; it takes one
_PROBE = f"""
import sys
from tflite_micro import runtime
runtime.Interpreter.from_bytes(sys.stdin.buffer.read(), arena_size={_ARENA_BYTES}).print_allocations()
"""


@dataclass(frozen=True)
class Arena:
    """Bytes of a TFLM arena: `head` for activations, `tail` for what lives as long as the model, `total` of both."""

    head: int
    tail: int
    total: int


@dataclass(frozen=True)
class Peak:
    """The operator at which the most activation bytes are alive: its number, name, and activation shapes."""

    index: int
    name: str
    bytes: int
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]

    def __str__(self) -> str:
        return f"{self.name} {_shapes(self.inputs)} -> {_shapes(self.outputs)} ({self.bytes:,} bytes)"


def measure(model: bytes) -> Arena:
    """Return the arena that TFLM reports for the .tflite file `model`: the smallest in which it runs, to 16 bytes.

    TFLM runs in a process of its own, since it prints the figures and a model that it cannot load may end the process.

    Raises:
        ValueError: `model` is no .tflite file, has weights where TFLM does not look for them (see
            `flatbuffer.compact`), or TFLM cannot load it.
    """
    _check_weights(model)
    command = [sys.executable, "-P", "-c", _PROBE]
    try:
        process = subprocess.run(command, input=model, capture_output=True, check=False, timeout=_PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"TFLM does not load the model within {_PATIENCE} seconds") from error
    printed = process.stderr.decode(errors="replace")
    if process.returncode != 0:
        raise ValueError(f"TFLM cannot load the model (exit code {process.returncode}): {_reason(printed)}")
    lines = re.findall(r"^\[RecordingMicroAllocator\] Arena allocation (\w+) (\d+) bytes\r?$", printed, re.MULTILINE)
    sizes = {name: int(size) for name, size in lines}
    if sizes.keys() != {"head", "tail", "total"} or sizes["head"] + sizes["tail"] != sizes["total"]:
        raise ValueError(f"this version of tflite-micro reports its arena in another way: {printed!r}")
    return Arena(**sizes)


def peak(model: bytes) -> Peak:
    """Return where the .tflite file `model` needs most activation memory.

    A tensor is alive from the operator that writes it to the last one that reads it, an input of the model from the
    start, an output to the end. The bytes are a lower bound of the arena's head, which TFLM's planner mostly meets.

    Raises:
        ValueError: as `measure`, or a tensor has a type without a size in bytes.
    """
    _check_weights(model)
    operators = reader.operators(model)
    inputs, outputs = reader.interface(model)
    first = dict.fromkeys(inputs, 0)
    last: dict[reader.Tensor, int] = {}
    for step, operator in enumerate(operators):
        for tensor in _activations(operator.inputs):
            last[tensor] = step
        for tensor in operator.outputs:
            first[tensor] = last[tensor] = step
    last.update(dict.fromkeys(outputs, len(operators) - 1))

    alive = [0] * len(operators)
    for tensor, begin in first.items():
        for step in range(begin, last.get(tensor, begin) + 1):
            alive[step] += _arena_bytes(tensor)
    index = max(range(len(operators)), key=alive.__getitem__)
    top = operators[index]
    shapes = [tuple(tensor.shape for tensor in _activations(end)) for end in (top.inputs, top.outputs)]
    return Peak(index, top.name, alive[index], *shapes)


def run(model: bytes, inputs: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """Return TFLM's answers to `inputs`, one by one: for each output of the model an array of n values of its shape.

    `inputs` is (n, height, width, channels) in the type of the model's only input (int8), for which the batch is 1.
    Slow (milliseconds an image): what other runtimes are checked against.

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
    # TFLM loads such a file without a word, and takes those weights for activations.
    if count := reader.outside_buffers(model):
        raise ValueError(f"{count} buffers lie behind the flatbuffer, where TFLM misses them: use flatbuffer.compact")


def _reason(printed: str) -> str:
    """What TFLM said before Python's traceback, or the traceback's last line."""
    said = printed.partition("Traceback")[0].strip() or printed.strip().rpartition("\n")[2]
    return " ".join(said.split()) or "it said nothing"


def _activations(tensors: Iterable[reader.Tensor]) -> list[reader.Tensor]:
    return [tensor for tensor in tensors if not tensor.data_bytes]


def _arena_bytes(tensor: reader.Tensor) -> int:
    try:
        size = math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize
    except TypeError as error:
        raise ValueError(f"tensor {tensor.index} is of type {tensor.dtype}, which has no size in bytes") from error
    return math.ceil(size / _ALIGNMENT) * _ALIGNMENT


def _shapes(shapes: tuple[tuple[int, ...], ...]) -> str:
    return " + ".join("x".join(str(size) for size in shape[1:]) for shape in shapes)
