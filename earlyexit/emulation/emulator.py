"""Call functions of an image on an emulated Cortex-M4: their stack, their instructions, an estimate of their cycles.

Issued instructions are counted, so one that an IT block skips counts too. Cycles are estimated from `timings`, from
whether each branch was taken, and from the addresses of loads; memories have no wait states.
"""

import ctypes
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from unicorn import UC_ARCH_ARM, UC_HOOK_BLOCK, UC_HOOK_CODE, UC_MODE_MCLASS, UC_MODE_THUMB, Uc, UcError, arm_const
from unicorn.unicorn_const import UC_PROT_ALL, UC_PROT_EXEC, UC_PROT_READ
from unicorn.unicorn_py3.unicorn import uclib

from earlyexit.emulation import timings
from earlyexit.emulation.compiler import TARGET, host_library
from earlyexit.emulation.image import Image

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
        timeout: float = 300,
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
        # Python handles signals in the main thread. There, Ctrl-C during `_describe` would be lost in the callback,
        # and the block would count as nothing.
        self._thread = ThreadPoolExecutor(1)
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
        # unicorn's own timeout ends too early where another thread makes a machine, which resets the clock of all.
        emulation = self._thread.submit(self._uc.emu_start, symbol.address | 1, until)
        try:
            emulation.result(self._timeout)
        except UcError as error:
            failure = error
        except BaseException as error:  # Ctrl-C or SIGTERM while this thread waits, or the end of the wait
            while not emulation.done():  # A stop that comes before the start is forgotten.
                self._uc.emu_stop()
                wait([emulation], timeout=0.1)
            if isinstance(error, TimeoutError):
                raise ValueError(f"{name}: not done after {self._timeout:g} seconds") from None
            raise
        _counting().count_left(ctypes.byref(self._counter), until)
        if self._unknown:
            raise ValueError(f"{name}: {self._unknown}") from None
        place = int(self._uc.reg_read(arm_const.UC_ARM_REG_PC))
        if failure or place != until:
            raise ValueError(f"{name}: {failure or 'stopped'}, in {self._at(place)}") from None

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


def _pages(count: int) -> int:
    return -(-count // _PAGE) * _PAGE


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
