"""Compiles C for this computer under sanitizers, and runs single layers in the compiled kernels."""

import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from earlyexit import firmware
from earlyexit.firmware import emit
from earlyexit.firmware.layers import Layer, Window

KERNELS = Path(firmware.__file__).with_name("kernels")
HERE = Path(__file__).parent
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
COMPILERS = {
    "gcc": ["gcc", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    # Without the sanitizers' libraries: undefined behaviour ends the program with SIGILL.
    "clang": [sys.executable, "-m", "ziglang", "cc", "-fsanitize=undefined", "-fsanitize-trap=undefined"],
}
DEFAULT = "gcc" if shutil.which("gcc") else "clang"

_WINDOWS = ("ee_convolution", "ee_pointwise", "ee_depthwise")
_KERNELS = (*_WINDOWS, *(f"{name}4" for name in _WINDOWS), "ee_add", "ee_mean")  # by their numbers in ee_driver.c
_NUMBER = re.compile(r"-?\d+")


def build(
    sources: Sequence[Path],
    program: Path,
    *,
    compiler: str = DEFAULT,
    defines: Sequence[str] = (),
    includes: Sequence[Path] = (KERNELS, HERE),
) -> Path:
    """Compile and link `sources` as strict C99 to the executable `program`, under sanitizers."""
    command = [*COMPILERS[compiler], *STRICT, "-O1", "-g", *(f"-D{name}" for name in defines)]
    command += [f"-I{folder}" for folder in includes]
    command += [*map(str, sources), "-o", str(program)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stderr}"
    return program


def build_texts(files: Mapping[str, str], folder: Path, **options: Any) -> Path:
    """Write `files` into `folder`, compile and link its .c files as `build` does, return the program."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    sources = [folder / name for name in files if name.endswith(".c")]
    return build(sources, folder / "program", includes=[folder], **options)


class Driver:
    """A running program that runs layers one by one; a context manager."""

    def __init__(self, folder: Path, *, dsp: bool, compiler: str = DEFAULT) -> None:
        defines = ["EE_EMULATE_DSP"] if dsp else []
        program = build(
            [KERNELS / "ee_kernels.c", HERE / "ee_driver.c"], folder / "driver", compiler=compiler, defines=defines
        )
        self._log = folder / "stderr"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)

    def __enter__(self) -> "Driver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()
        if kind is None:
            assert self._process.returncode == 0, self._log.read_text()

    def run(self, layer: Layer, *inputs: np.ndarray) -> np.ndarray:
        """Return the layer's output, as far from its inputs as can be."""
        sizes = [x.size for x in inputs]
        places = [sum(sizes[:number]) for number in range(len(inputs))]
        arena = np.concatenate([x.ravel() for x in inputs] + [np.full(int(np.prod(layer.out_shape)), 77, np.int8)])
        after = self.run_in(layer, arena, places, sum(sizes))
        assert np.array_equal(after[: sum(sizes)], arena[: sum(sizes)]), "the input was written"
        return after[sum(sizes) :].reshape(layer.out_shape)

    def run_in(self, layer: Layer, arena: np.ndarray, inputs: Sequence[int], output: int) -> np.ndarray:
        """Return `arena` after the layer has run with inputs and output at these offsets."""
        inputs = [inputs[place] for place in emit.places(layer)]
        scratch = emit.scratch_bytes(layer)
        arrays = list(emit.arrays(layer).values()) if isinstance(layer, Window) else []
        _, fields = emit.description(layer, "")
        values = list(fields.values())[len(arrays) :]
        numbers = [int(number) & 0xFFFFFFFF for value in values for number in _NUMBER.findall(str(value))]
        head = [_KERNELS.index(emit.kernel(layer)), arena.size, inputs[0], inputs[-1], output, scratch]
        weights = arrays[0].size if arrays else 0
        message = struct.pack("<7i", *head, 4 * weights) + arena.tobytes() + struct.pack(f"<{len(numbers)}I", *numbers)
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        try:
            pipe_in.write(message + b"".join(array.tobytes() for array in arrays))
            pipe_in.flush()
            answer = pipe_out.read(arena.size)
        except BrokenPipeError:
            answer = b""
        assert len(answer) == arena.size, f"{layer}\n{self._log.read_text()}"
        return np.frombuffer(answer, np.int8)
