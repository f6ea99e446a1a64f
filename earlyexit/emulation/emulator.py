"""Run firmware on an emulated Cortex-M4: its answers, its stack, its instructions, and an estimate of its cycles.

Issued instructions are counted, so one that an IT block skips counts too. Cycles are estimated from `timings`, from
whether each branch was taken, and from the addresses of loads; memories have no wait states.
"""

import ctypes
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm
from unicorn import UC_ARCH_ARM, UC_HOOK_BLOCK, UC_HOOK_CODE, UC_MODE_MCLASS, UC_MODE_THUMB, Uc, UcError, arm_const
from unicorn.unicorn_const import UC_PROT_ALL, UC_PROT_EXEC, UC_PROT_READ
from unicorn.unicorn_py3.unicorn import uclib

from earlyexit.emulation import timings
from earlyexit.emulation.compiler import TARGET, host_library
from earlyexit.emulation.image import Image
from earlyexit.policy.cascade import Outcome

_PAGE = 4096
_PAINT = 0xA5A5A5A5
_EXCHANGE_BYTES = 1 << 20
_CALLS = 4096
REFILL = 2
"""Cycles of a pipeline refill, in the middle of the 1 to 3 of Arm's manual."""

_ARGUMENTS = tuple(getattr(arm_const, f"UC_ARM_REG_R{number}") for number in range(4))
_BLOCK = np.dtype(  # ee_block in target/count.c
    [(name, np.uint64) for name in ("executed", "cycles")]
    + [(name, np.uint32) for name in ("size", "instructions", "through", "taken")]
)
_LOAD = np.dtype(  # ee_load in target/count.c
    [("offset", np.int32)] + [(name, np.uint8) for name in ("size", "base", "index", "shift")]
)
_DESCRIBE = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32)


class Count(NamedTuple):
    """Instructions, and their estimated cycles."""

    instructions: int
    cycles: int

    def plus(self, cycles: int) -> "Count":
        """Return the count with so many more cycles."""
        return Count(self.instructions, self.cycles + cycles)


@dataclass(frozen=True)
class Cost:
    """What one call took.

    Attributes:
        instructions: in all.
        cycles: estimated, in all.
        functions: of each function that ran, without its callees, by name.
        calls: of watched functions, in order: name, and the count from this call to the next one or to the end.
    """

    instructions: int
    cycles: int
    functions: dict[str, Count]
    calls: tuple[tuple[str, Count], ...]


@dataclass(frozen=True)
class Trace:
    """The firmware's answers for N images, and their costs.

    Attributes:
        logits: of each segment, int8 (segments, N, 2).
        features: of each segment but the last, int8 (N, bytes).
        thresholds: default thresholds of the early exits, integer margins.
        outcomes: of `ee_run`, for each image.
        segments: cost of `ee_run_segment`, for each segment and image, without copying the input to the arena.
        cascade: cost of `ee_run`, for each image, without copying the input to the arena.
        stack: the most bytes of stack that a call took.
    """

    logits: NDArray[np.int8]
    features: list[NDArray[np.int8]]
    thresholds: list[int]
    outcomes: list[Outcome]
    segments: list[list[Cost]]
    cascade: list[Cost]
    stack: int

    @property
    def instructions(self) -> NDArray[np.int64]:
        """Instructions of each segment and image, (segments, N)."""
        return np.array([[cost.instructions for cost in costs] for costs in self.segments], np.int64)

    @property
    def cycles(self) -> NDArray[np.int64]:
        """Estimated cycles of each segment and image, (segments, N)."""
        return np.array([[cost.cycles for cost in costs] for costs in self.segments], np.int64)


class _Counter(ctypes.Structure):
    """The struct ee_counter of target/count.c."""

    _fields_ = (
        ("flash_bytes", ctypes.c_uint32),
        ("blocks", ctypes.c_void_p),
        ("describe", _DESCRIBE),
        ("watched", ctypes.c_void_p),
        ("called", ctypes.c_void_p),
        ("called_at", ctypes.c_void_p),
        ("room", ctypes.c_uint32),
        ("calls", ctypes.c_uint32),
        ("instructions", ctypes.c_uint64),
        ("cycles", ctypes.c_uint64),
        ("outside", ctypes.c_uint64),
        ("block", ctypes.c_void_p),
        ("end", ctypes.c_uint32),
        ("loads", ctypes.c_void_p),
        ("read", ctypes.c_void_p),
    )


class Machine:
    """A Cortex-M4 with an image in flash, which has run up to `main`.

    Args:
        image: from `compiler.build`.
        watched: functions whose calls are recorded one by one.
        timeout: seconds that a call may take.
        refill: cycles of a pipeline refill after a taken branch.
        loads_only: count nothing but the extra cycles of loads from unaligned addresses, which the fast emulation of
            everything else leaves out.

    Raises:
        ValueError: the image does not reach `main`, or has no function of a watched name.
    """

    def __init__(
        self,
        image: Image,
        watched: Sequence[str] = (),
        timeout: float = 60,
        refill: int = REFILL,
        loads_only: bool = False,
    ) -> None:
        self._timeout = timeout
        self._refill = refill
        self._loads_only = loads_only
        self._unknown: ValueError | None = None
        self._described: set[int] = set()
        self._image = image
        flash = _pages(image.flash_bytes)
        self._flash = np.full(flash, 0xFF, np.uint8)
        self._blocks = np.zeros(flash // 2, _BLOCK)
        self._loads = np.zeros(flash // 2 if loads_only else 0, _LOAD)
        self._watched = np.zeros(flash // 2, np.uint8)
        self._called = np.zeros(_CALLS, np.uint32)
        self._called_at = np.zeros((_CALLS, 2), np.uint64)
        for name in watched:
            self._watched[image.symbol(name).address // 2] = 1
        self._functions = _functions(image)
        for address, content in image.loads.items():
            self._flash[address : address + len(content)] = np.frombuffer(content, np.uint8)
        self._uc = Uc(UC_ARCH_ARM, UC_MODE_THUMB | UC_MODE_MCLASS)
        self._uc.ctl_set_cpu_model(arm_const.UC_CPU_ARM_CORTEX_M4)
        self._map(_pages(image.ram_bytes))
        self._counter = self._count()
        self._boot()

    def call(self, name: str, *arguments: int) -> int:
        """Call the function `name` with up to four integers or addresses; return its result as a signed integer.

        Raises:
            ValueError: there is no such function, or it reads or writes outside of the memory, executes an unknown
                instruction or one without a known timing, or takes too long.
        """
        for register, value in zip(_ARGUMENTS, arguments, strict=False):
            self._uc.reg_write(register, value & 0xFFFF_FFFF)
        self._uc.reg_write(arm_const.UC_ARM_REG_SP, self._image.symbol("stack_top").address)
        back = self.exchange + _EXCHANGE_BYTES - 4
        self._uc.reg_write(arm_const.UC_ARM_REG_LR, back | 1)
        self._run(name, back)
        result = int(self._uc.reg_read(arm_const.UC_ARM_REG_R0))
        return result - (1 << 32) if result >> 31 else result

    @contextmanager
    def counting(self) -> Iterator[list[Cost]]:
        """Count what all calls inside the `with` block take; afterwards the list holds their cost."""
        for kind in ("executed", "cycles"):
            self._blocks[kind][list(self._described)] = 0
        counter = self._counter
        counter.instructions = counter.cycles = counter.calls = counter.outside = 0
        costs: list[Cost] = []
        yield costs
        if counter.outside or counter.calls > _CALLS:
            raise ValueError(f"code ran outside of flash, or more than {_CALLS:,} watched functions were called")
        costs.append(Cost(counter.instructions, counter.cycles, self._by_function(), self._watched_calls()))

    @property
    def exchange(self) -> int:
        """Address of 1 MiB of extra memory for arguments and results; its last 4 bytes are in use."""
        return self._image.symbol("exchange").address

    def write(self, address: int, values: NDArray[Any]) -> None:
        """Write the bytes of `values` to memory."""
        self._uc.mem_write(address, values.tobytes())

    def read(self, address: int, count: int) -> NDArray[np.int8]:
        """Return `count` bytes of memory as int8."""
        return np.frombuffer(bytes(self._uc.mem_read(address, count)), np.int8)

    def stack(self) -> int:
        """Return the most bytes of stack that a call has taken so far; the start-up code has painted the stack."""
        bottom, top = self._image.symbol("stack_limit").address, self._image.symbol("stack_top").address
        words = self.read(bottom, top - bottom).view(np.uint32)
        used = np.flatnonzero(words != _PAINT)
        return 4 * (len(words) - int(used[0])) if len(used) else 0

    def _map(self, ram: int) -> None:
        self._uc.mem_map_ptr(0, len(self._flash), UC_PROT_READ | UC_PROT_EXEC, self._flash.ctypes.data)
        self._uc.mem_map(self._image.symbol("ram_origin").address, ram, UC_PROT_ALL)
        self._uc.mem_map(self.exchange, _EXCHANGE_BYTES, UC_PROT_ALL)

    def _count(self) -> _Counter:
        blocks, watched, called, called_at = (
            array.ctypes.data for array in (self._blocks, self._watched, self._called, self._called_at)
        )
        counter = _Counter(len(self._flash), blocks, _DESCRIBE(self._describe), watched, called, called_at, _CALLS)
        # unicorn's own hook_add takes only Python functions, which are fifty times slower than the network itself.
        hooks = {UC_HOOK_BLOCK: _counting().count_block}
        if self._loads_only:
            # unicorn's hook of memory reads leaves its processor in a wrong state behind a load in an IT block.
            hooks[UC_HOOK_CODE] = _counting().count_load
            counter.loads = self._loads.ctypes.data
            counter.read = ctypes.cast(uclib.uc_reg_read, ctypes.c_void_p)
        for kind, function in hooks.items():
            status = uclib.uc_hook_add(
                self._uc._uch,
                ctypes.byref(ctypes.c_size_t()),
                kind,
                ctypes.cast(function, ctypes.c_void_p),
                ctypes.byref(counter),
                ctypes.c_uint64(1),
                ctypes.c_uint64(0),
            )
            if status:
                raise UcError(status)
        return counter

    def _describe(self, begin: int, size: int) -> None:
        """Write the timing of a block that is entered for the first time."""
        self._described.add(begin // 2)
        code = self._flash[begin : begin + size].tobytes()
        timing = timings.Timing(0, 0, 0)
        try:
            if self._loads_only:
                for load in timings.loads(code, begin):
                    self._loads[load.address // 2] = (load.offset, load.size, load.base, load.index, load.shift)
            else:
                timing = timings.block(code, begin, self._refill)
        except ValueError as error:  # cannot pass through the emulator
            self._unknown = ValueError(f"{error}, in {self._at(begin)}")
            self._uc.emu_stop()
            return
        for field, value in zip(("size", "instructions", "through", "taken"), (size, *astuple(timing)), strict=True):
            self._blocks[field][begin // 2] = value

    def _boot(self) -> None:
        self._uc.reg_write(arm_const.UC_ARM_REG_SP, self._image.symbol("stack_top").address)
        self._run("reset", self._image.symbol("main").address)

    def _run(self, name: str, until: int) -> None:
        symbol = self._image.symbol(name)
        if not symbol.is_function:
            raise ValueError(f"{name} is no function of the image")
        failure: UcError | None = None
        self._unknown = None
        try:
            self._uc.emu_start(symbol.address | 1, until, round(self._timeout * 1e6))
        except UcError as error:
            failure = error
        _counting().count_left(ctypes.byref(self._counter), until)
        if self._unknown:
            raise ValueError(f"{name}: {self._unknown}") from None
        if failure:
            place = self._at(int(self._uc.reg_read(arm_const.UC_ARM_REG_PC)))
            raise ValueError(f"{name}: {failure}, in {place}") from None
        if self._uc.reg_read(arm_const.UC_ARM_REG_PC) != until:
            raise ValueError(f"{name}: not done after {self._timeout:g} seconds")

    def _at(self, address: int) -> str:
        names, begins = self._functions
        place = int(np.searchsorted(begins, address, "right")) - 1
        return names[place] if place >= 0 else hex(address)

    def _by_function(self) -> dict[str, Count]:
        names, begins = self._functions
        places = np.array(sorted(self._described))
        owners = np.searchsorted(begins, 2 * places, "right") - 1
        counts = np.stack([self._blocks[kind][places] for kind in ("executed", "cycles")], 1).astype(np.int64)
        sums = np.zeros((len(names), 2), np.int64)
        np.add.at(sums, owners, counts)
        return {names[i]: Count(*sums[i].tolist()) for i in np.flatnonzero(sums.any(1))}

    def _watched_calls(self) -> tuple[tuple[str, Count], ...]:
        counter = self._counter
        totals = [*self._called_at[: counter.calls].tolist(), [counter.instructions, counter.cycles]]
        counts = [Count(*row) for row in np.diff(totals, axis=0).tolist()]
        names = [self._at(address) for address in self._called[: counter.calls].tolist()]
        return tuple(zip(names, counts, strict=True))


def run(
    image: Image,
    inputs: NDArray[np.int8],
    features: Sequence[int],
    watched: Sequence[str] = (),
    refill: int = REFILL,
) -> Trace:
    """Run the network in `image` on every input: each segment alone, then the cascade.

    Unaligned loads are counted for the first input and charged to all, since counting them is slow: the addresses that
    a network loads from do not depend on the pixels.

    Args:
        image: with the functions of ee.h.
        inputs: INT8 images (N, H, W, 3).
        features: bytes of the features of each segment but the last.
        watched: functions whose calls are recorded one by one.
        refill: cycles of a pipeline refill after a taken branch.

    Raises:
        ValueError: a function returns an error code, or fails as `Machine.call`.
    """
    machine = Machine(image, watched, refill=refill)
    _checked("ee_init", machine.call("ee_init"))
    thresholds = [machine.call("ee_get_threshold", number) for number in range(len(features))]
    place = machine.call("ee_input") & 0xFFFF_FFFF
    logits = np.empty((len(features) + 1, len(inputs), 2), np.int8)
    left = [np.empty((len(inputs), count), np.int8) for count in features]
    segments: list[list[Cost]] = [[] for _ in logits]
    cascade, outcomes = [], []
    unaligned = _unaligned_loads(image, inputs[0], len(logits), watched)
    for number, pixels in enumerate(tqdm(inputs, desc="emulated Cortex-M4", unit="image", delay=2)):
        machine.write(place, pixels)
        for segment, costs in enumerate(segments):
            with machine.counting() as found:
                _run_segment(machine, segment, place)
            costs.append(_sum(found[0], unaligned[segment : segment + 1]))
            logits[segment, number] = machine.read(machine.exchange, 2)
            if segment < len(left):
                at = machine.call("ee_features", segment) & 0xFFFF_FFFF
                left[segment][number] = machine.read(at, features[segment])
        machine.write(place, pixels)
        with machine.counting() as found:
            status = machine.call("ee_run", place, machine.exchange)
        _checked("ee_run", status)
        label, leaves, margin = np.frombuffer(machine.read(machine.exchange, 4).tobytes(), "<u1,<u1,<i2")[0]
        outcomes.append(Outcome(int(label), int(leaves), int(margin)))
        cascade.append(_sum(found[0], unaligned[: leaves + 1]))
    return Trace(logits, left, thresholds, outcomes, segments, cascade, machine.stack())


def _run_segment(machine: Machine, segment: int, place: int) -> None:
    status = machine.call("ee_run_segment", segment, place if segment == 0 else 0, machine.exchange)
    _checked(f"ee_run_segment({segment})", status)


def _unaligned_loads(image: Image, pixels: NDArray[np.int8], segments: int, watched: Sequence[str]) -> list[Cost]:
    """Return for each segment the extra cycles of its loads from unaligned addresses, and nothing else."""
    machine = Machine(image, watched, loads_only=True)
    _checked("ee_init", machine.call("ee_init"))
    place = machine.call("ee_input") & 0xFFFF_FFFF
    machine.write(place, pixels)
    costs: list[Cost] = []
    for segment in range(segments):
        with machine.counting() as found:
            _run_segment(machine, segment, place)
        costs += found
    return costs


def _sum(cost: Cost, extras: Sequence[Cost]) -> Cost:
    """Return `cost` with the cycles of `extras`, which together ran the same functions and made the same calls."""
    functions = dict(cost.functions)
    for name, extra in (item for one in extras for item in one.functions.items()):
        functions[name] = functions[name].plus(extra.cycles)
    called = [extra for one in extras for _, extra in one.calls]
    calls = tuple((name, count.plus(more.cycles)) for (name, count), more in zip(cost.calls, called, strict=True))
    return Cost(cost.instructions, cost.cycles + sum(one.cycles for one in extras), functions, calls)


def _pages(count: int) -> int:
    return -(-count // _PAGE) * _PAGE


def _checked(name: str, status: int) -> None:
    if status != 0:
        raise ValueError(f"{name} answered {status} instead of EE_OK")


def _functions(image: Image) -> tuple[list[str], NDArray[np.int64]]:
    """Return the names and the addresses of all functions, in the order of addresses."""
    found = sorted((symbol.address, name) for name, symbol in image.symbols.items() if symbol.is_function)
    return [name for _, name in found], np.array([address for address, _ in found], np.int64)


@cache
def _counting() -> ctypes.CDLL:
    """Return target/count.c, compiled for this computer."""
    with tempfile.TemporaryDirectory(prefix="earlyexit-") as folder:
        library = Path(folder, "count.so")
        library.write_bytes(host_library(TARGET / "count.c"))
        return ctypes.CDLL(str(library))
