"""The kernels in plain C, layer by layer, on emulated cores without the DSP extension: Cortex-M0+ and RISC-V (rv32imc).

They are compared with loops that have the structure of TensorFlow Lite Micro's reference kernels (target/reference.c),
compiled by the same compiler with the same flags.
"""

import ctypes
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import unicorn
from elftools.elf.elffile import ELFFile
from numpy.typing import NDArray
from unicorn import arm_const, riscv_const
from unicorn.unicorn_py3.unicorn import uclib

from earlyexit.emulation import compiler
from earlyexit.firmware import emit, source
from earlyexit.firmware.layers import Add, Dense, Depthwise, Mean, Window
from earlyexit.tflite import arena

REFERENCE = compiler.TARGET / "reference.c"

_FLASH, _RAM, _RAM_BYTES = 0x1_0000, 0x2000_0000, 1 << 20
_BACK = _RAM + _RAM_BYTES - 64  # where calls return to
_STACK = _BACK - 64
_OUTSIDE = (0, 0x4_0000, 0x8_0000, 0xC_0000)  # offsets in RAM for what does not lie in the arena
_FLAGS = ("-std=c99", "-g0", "-ffreestanding", "-fomit-frame-pointer", "-fno-sanitize=all", "-fno-stack-protector")
_SIGNATURE = "(const int8_t *a, const int8_t *b, int8_t *output, void *scratch)\n"
_COUNT = """#include <stdint.h>
typedef struct { uint64_t executed, size; } block;
void count(void *engine, uint64_t address, uint32_t size, block *blocks)
{ blocks[address / 2].executed++; blocks[address / 2].size = size; }
"""


@dataclass(frozen=True)
class Core:
    """A core: what the compiler and the emulator call it, and the registers of its calls.

    `instruction_bytes` returns the length of the instruction that begins with these 16 bits.
    """

    name: str
    target: tuple[str, ...]
    emulated: tuple[int, int, int]
    arguments: tuple[int, ...]
    stack: int
    back: int
    thumb: int
    instruction_bytes: Callable[[int], int]


M0 = Core(
    "Cortex-M0+",
    ("-target", "thumb-freestanding-eabi", "-mcpu=cortex_m0plus"),
    (unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS, arm_const.UC_CPU_ARM_CORTEX_M0),
    tuple(range(arm_const.UC_ARM_REG_R0, arm_const.UC_ARM_REG_R0 + 4)),
    arm_const.UC_ARM_REG_SP,
    arm_const.UC_ARM_REG_LR,
    1,
    lambda first: 4 if first >= 0xE800 else 2,
)
RISCV = Core(
    "rv32imc",
    ("-target", "riscv32-freestanding-none", "-mcpu=generic_rv32+m+c"),
    (unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32, riscv_const.UC_CPU_RISCV32_ANY),
    tuple(range(riscv_const.UC_RISCV_REG_A0, riscv_const.UC_RISCV_REG_A0 + 4)),
    riscv_const.UC_RISCV_REG_SP,
    riscv_const.UC_RISCV_REG_RA,
    0,
    lambda first: 4 if first & 3 == 3 else 2,
)


class Machine:
    """A core with C code in its memory."""

    def __init__(self, core: Core, sources: Sequence[Path], folder: Path, roots: Sequence[str]) -> None:
        self._core = core
        elf = ELFFile(io.BytesIO(_build(core, sources, folder, roots)))
        loads = [(part["p_vaddr"] - _FLASH, part["p_memsz"], part.data()) for part in elf.iter_segments("PT_LOAD")]
        self._memory = np.zeros(-(-max(place + size for place, size, _ in loads) // 4096) * 4096, np.uint8)
        for place, _, content in loads:
            self._memory[place : place + len(content)] = np.frombuffer(content, np.uint8)
        symbols = elf.get_section_by_name(".symtab").iter_symbols()
        self._symbols = {symbol.name: symbol["st_value"] for symbol in symbols}
        self._uc = unicorn.Uc(*core.emulated[:2])
        self._uc.ctl_set_cpu_model(core.emulated[2])
        self._uc.mem_map_ptr(_FLASH, len(self._memory), unicorn.UC_PROT_ALL, self._memory.ctypes.data)
        self._uc.mem_map(_RAM, _RAM_BYTES)
        self._blocks = np.zeros((_FLASH + len(self._memory)) // 2, np.dtype([("executed", "u8"), ("size", "u8")]))
        hook = ctypes.cast(_counter(), ctypes.c_void_p)
        handle, blocks = ctypes.byref(ctypes.c_size_t()), ctypes.c_void_p(self._blocks.ctypes.data)
        everywhere = (ctypes.c_uint64(1), ctypes.c_uint64(0))
        assert uclib.uc_hook_add(self._uc._uch, handle, unicorn.UC_HOOK_BLOCK, hook, blocks, *everywhere) == 0

    def run(
        self, name: str, inputs: Sequence[NDArray[np.int8]], offsets: Sequence[int], size: int
    ) -> tuple[NDArray[np.int8], int]:
        """Call a layer's function; return the `size` bytes of its output, and the instructions that it took.

        `offsets` in RAM: of two inputs (the second of a layer with one is not used), the output and scratch memory.
        """
        for offset, values in zip(offsets, inputs, strict=False):
            self._uc.mem_write(_RAM + offset, values.tobytes())
        for register, offset in zip(self._core.arguments, offsets, strict=True):
            self._uc.reg_write(register, _RAM + offset)
        self._uc.reg_write(self._core.stack, _STACK)
        self._uc.reg_write(self._core.back, _BACK | self._core.thumb)
        self._blocks[:] = 0
        self._uc.emu_start(self._symbols[name] | self._core.thumb, _BACK)
        return np.frombuffer(bytes(self._uc.mem_read(_RAM + offsets[2], size)), np.int8), self._instructions()

    def _instructions(self) -> int:
        halves, total = self._memory.view(np.uint16), 0
        for place in np.flatnonzero(self._blocks["executed"]):
            begin = here = 2 * int(place) - _FLASH
            executed, size = map(int, self._blocks[place])
            found = 0
            while here < begin + size:
                here += self._core.instruction_bytes(int(halves[here // 2]))
                found += 1
            total += executed * found
        return total


def compare(
    models: Sequence[bytes], image: NDArray[np.int8], cores: Sequence[Core] = (M0, RISCV)
) -> tuple[str, list[str]]:
    """Return a table of instructions for one INT8 `image` (1, H, W, 3), and the layers slower than the reference.

    Raises:
        ValueError: a side's answer differs from the other's, or from TFLM's.
    """
    layout = source.lay_out(source.read(models))
    steps = layout.steps
    rows = ["| layer | shape |" + "".join(f" {core.name} | reference | ratio |" for core in cores)]
    rows.append("|---|---|" + "---:|" * (3 * len(cores)))
    counts = np.array([_counts(core, layout, models, image) for core in cores])
    slower = []
    for number, step in enumerate(steps):
        shape = "x".join(map(str, step.layer.in_shape)) + " -> " + "x".join(map(str, step.layer.out_shape))
        rows.append(f"| {step.name} | {shape} |" + "".join(map(_cells, counts[:, number])))
        worse = counts[:, number, 0] > counts[:, number, 1]
        slower += [f"{step.name} on {core.name}" for core, is_slower in zip(cores, worse, strict=True) if is_slower]
    rows.append("| **all** | |" + "".join(map(_cells, counts.sum(1))))
    return "\n".join(rows), slower


def _cells(pair: NDArray[np.int64]) -> str:
    return f" {pair[0]:,} | {pair[1]:,} | {pair[0] / pair[1]:.2f} |"


def _counts(
    core: Core, layout: source.Layout, models: Sequence[bytes], image: NDArray[np.int8]
) -> list[tuple[int, int]]:
    """Return the instructions of both sides for every layer; ours works in the arena as on a device."""
    steps = layout.steps
    names = [step.name for step in steps]
    with tempfile.TemporaryDirectory(prefix="earlyexit-") as name:
        folder = Path(name)
        kernels = Path(source.__file__).with_name("kernels")
        (folder / "ours.c").write_text(_ours(steps))
        (folder / "theirs.c").write_text(f'#include "{REFERENCE}"\n' + "\n".join(map(_theirs, steps)))
        ours = Machine(core, [folder / "ours.c", kernels / "ee_kernels.c"], folder, [f"run_{name}" for name in names])
        theirs = Machine(core, [folder / "theirs.c"], folder, [f"run_{name}" for name in names])
        found, features = [], image
        for number, model in enumerate(models):
            expected = arena.run(model, features)
            activations = {"input": features.ravel()}
            for step in (step for step in steps if step.segment == number):
                inputs = [activations.get(tensor, features.ravel()) for tensor in step.inputs]
                size = int(np.prod(step.layer.out_shape))
                buffers = (step.inputs[0], step.inputs[-1], step.output, step.scratch)
                offsets = [layout.plan.offsets.get(str(buffer), _OUTSIDE[2]) for buffer in buffers]
                output, mine = ours.run(f"run_{step.name}", inputs, offsets, size)
                other, reference = theirs.run(f"run_{step.name}", inputs, _OUTSIDE, size)
                if not np.array_equal(output, other):
                    raise ValueError(f"{step.name}: the kernel's answer differs from the reference on {core.name}")
                activations[step.output] = output
                found.append((mine, reference))
            if not np.array_equal(output, min(expected, key=np.ndim).ravel()):
                raise ValueError(f"segment {number + 1}: the logits differ from TFLM's on {core.name}")
            features = max(expected, key=np.ndim)
    return found


def _ours(steps: Sequence[source.Step]) -> str:
    text = ['#include "ee_kernels.h"', "#include <stddef.h>"]
    for step in steps:
        text.append(emit.constants(step.layer, step.name))
        call = emit.call(step.layer, step.name, ["a", "b"], "output", "scratch")
        text.append(f"void run_{step.name}{_SIGNATURE}{{ (void)b; (void)scratch; {call} }}")
    return "\n".join(text)


def _theirs(step: source.Step) -> str:
    layer = step.layer
    inputs = "a"
    if isinstance(layer, Window):
        kind, fields, arrays = "window", _window(layer, step.name), _arrays(layer)
        function = {Depthwise: "depthwise", Dense: "dense"}.get(type(layer), "convolution")
    elif isinstance(layer, Add):
        kind, function, arrays, inputs = "sum", "add", {}, "a, b"
        fields = [_shape(layer.in_shape), *(-zero for zero in layer.in_zero_points), layer.zero_point, 20]
        fields += [number for pair in zip(layer.in_multipliers, layer.in_shifts, strict=True) for number in pair]
        fields += [layer.multiplier, layer.shift, layer.low, layer.high]
    else:
        assert isinstance(layer, Mean)
        kind, function, arrays = "pool", "mean", {}
        fields = [_shape(layer.in_shape), -layer.in_zero_point, layer.zero_point, layer.multiplier, layer.shift]
    text = [
        f"static const {values.dtype.name}_t {step.name}_{name}[] = {{{', '.join(map(str, values.ravel().tolist()))}}};"
        for name, values in arrays.items()
    ]
    text.append(f"static const {kind} {step.name} = {{{', '.join(map(str, fields))}}};")
    call = f"reference_{function}(&{step.name}, {inputs}, output);"
    return "\n".join([*text, f"void run_{step.name}{_SIGNATURE}{{ (void)b; (void)scratch; {call} }}"])


def _window(layer: Window, name: str) -> list[object]:
    filter_shape = layer.weights.shape if not isinstance(layer, Depthwise) else (1, *layer.weights.shape)
    fields: list[object] = [_shape(layer.in_shape), _shape(filter_shape), _shape(layer.out_shape)]
    fields += [*layer.stride, 1, 1, *layer.padding, -layer.in_zero_point, layer.zero_point, layer.low, layer.high]
    return [*fields, *(f"{name}_{field}" for field in ("weights", "bias", "multipliers", "shifts"))]


def _arrays(layer: Window) -> dict[str, NDArray[Any]]:
    """Return TensorFlow Lite's own arrays: the bias without what the input's zero point contributes."""
    axes = (0, 1) if isinstance(layer, Depthwise) else (1, 2, 3)
    bias = layer.bias + layer.in_zero_point * layer.weights.astype(np.int64).sum(axes)
    arrays = {"weights": layer.weights, "bias": bias.astype(np.int32)}
    return arrays | {"multipliers": layer.multipliers.astype(np.int32), "shifts": layer.shifts.astype(np.int32)}


def _shape(shape: Sequence[int]) -> str:
    return "{{" + ", ".join(map(str, [1] * (4 - len(shape)) + list(shape))) + "}}"


def _build(core: Core, sources: Sequence[Path], folder: Path, roots: Sequence[str]) -> bytes:
    """Compile and link for `core`; zig adds what the compiler calls: division, 64-bit products, memcpy."""
    cache = str(Path(tempfile.gettempdir(), f"earlyexit-zig-{os.getuid()}"))
    environment = {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache, **os.environ}
    command = [sys.executable, "-m", "ziglang", "cc", *core.target, *_FLAGS, compiler.OPTIMIZE]
    command += [f"-I{Path(source.__file__).with_name('kernels')}", f"-I{compiler.TARGET / 'include'}"]
    command += [str(path) for path in sources]
    command += [f"-Wl,-e,{roots[0]}", f"-Wl,--image-base={_FLASH}", "-o", "program"]
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    if process.returncode:
        raise ValueError(f"zig cc failed for {core.name}:\n{process.stderr.decode(errors='replace')[:2000]}")
    return (folder / "program").read_bytes()


@cache
def _counter() -> Any:
    """Return the function of _COUNT; unicorn's own hooks in Python would take fifty times as long."""
    with tempfile.TemporaryDirectory(prefix="earlyexit-") as name:
        folder = Path(name)
        (folder / "count.c").write_text(_COUNT)
        (folder / "count.so").write_bytes(compiler.host_library(folder / "count.c"))
        return ctypes.CDLL(str(folder / "count.so")).count
