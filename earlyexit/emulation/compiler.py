"""C sources -> an image for a Cortex-M4, by the clang in the PyPI package ziglang, and where its bytes went."""

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from earlyexit.emulation import elf

TARGET = Path(__file__).with_name("target")
FLASH_BYTES = 256 * 1024
RAM_BYTES = 67 * 1024
INTERFACE = ("ee_init", "ee_input", "ee_run", "ee_run_segment", "ee_features", "ee_set_threshold", "ee_get_threshold")
OPTIMIZE = "-O3"

_MACHINE = ("-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m4")
_FLAGS = (
    "-std=c99",
    "-g0",
    "-fomit-frame-pointer",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-sanitize=all",
    "-fno-stack-protector",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    "-Werror=implicit-function-declaration",
)
# Without -fno-builtin memcpy would be compiled into a call of itself.
_OWN = ("-std=gnu99", "-O2", "-fno-builtin", "-fno-strict-aliasing", "-fno-unroll-loops")
_MAPPED = re.compile(r"^ *([0-9a-f]+) +([0-9a-f]+) +([0-9a-f]+) +\d+ {9}(\S.*):\((\S+)\)$")
_OVERFLOW = re.compile(r"will not fit in region '(\w+)': overflowed by (\d+) bytes")
_RAM_ADDRESS = 0x2000_0000


@dataclass(frozen=True)
class Part:
    """A section of an object file in the image: `file` is the source's name, `name` the function's or constant's.

    `ram` says that it takes RAM; what has `values` takes flash, code and constants or initial values of RAM.
    """

    file: str
    name: str
    bytes: int
    code: bool
    ram: bool
    values: bool


@dataclass(frozen=True)
class Image:
    """A linked image.

    Attributes:
        content: of the ELF file.
        layout: what it says.
        parts: in the order of their addresses.
        flash_bytes, ram_bytes: what the device has.
    """

    content: bytes
    layout: elf.Elf
    parts: tuple[Part, ...]
    flash_bytes: int
    ram_bytes: int

    def flash(self, file: str | None = None) -> int:
        """Return the bytes of flash that the source `file` takes, or all together."""
        return sum(part.bytes for part in self.parts if part.values and file in (None, part.file))

    def code(self, file: str | None = None) -> int:
        """Return the bytes of flash that are instructions, of one source or of all."""
        return sum(part.bytes for part in self.parts if part.code and file in (None, part.file))

    def ram(self, file: str | None = None) -> int:
        """Return the bytes of RAM that static variables take, of one source or of all; the stack is not in it."""
        return sum(part.bytes for part in self.parts if part.ram and file in (None, part.file))

    @property
    def files(self) -> list[str]:
        """The sources that have a part in the image, sorted."""
        return sorted({part.file for part in self.parts})


def build(
    sources: Mapping[str, str],
    *,
    roots: Sequence[str] = INTERFACE,
    defines: Sequence[str] = (),
    optimize: str = OPTIMIZE,
    flash: int = FLASH_BYTES,
    ram: int = RAM_BYTES,
) -> Image:
    """Compile and link C sources for a Cortex-M4.

    Args:
        sources: text of .c and .h files by name, headers of libraries under include/; without a main.c the test
            firmware's is taken. Startup code with memcpy, memmove and memset is added.
        roots: functions to keep although the firmware does not call them.
        defines: macros, "NAME" or "NAME=value".
        optimize: the compiler's level.
        flash, ram: bytes that the device has; 2 KiB of the RAM are kept for the stack.

    Returns:
        the image; equal input gives equal bytes.

    Raises:
        FileNotFoundError: the compiler is missing.
        ValueError: a source does not compile (with the compiler's first errors), or the image does not fit: which
            memory is short of how many bytes, and what takes the most of it. Floating point does not link: there is
            no library for it.
    """
    files = {"startup.c": _read("startup.c"), "include/string.h": _read("include/string.h"), **sources}
    files.setdefault("main.c", _read("main.c"))
    with tempfile.TemporaryDirectory(prefix="earlyexit-") as name:
        folder = Path(name)
        for file, text in files.items():
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        flags = [*_FLAGS, optimize, "-I.", "-isystem", "include"]
        flags += [f"-D{macro}" for macro in defines]
        units = sorted(file for file in files if file.endswith(".c"))
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda unit: _compile(folder, unit, flags), units))
        return _link(folder, units, roots, flash, ram)


def host_library(source: Path) -> bytes:
    """Return a shared library for this computer, compiled from one C file.

    Raises:
        FileNotFoundError, ValueError: as `build`.
    """
    with tempfile.TemporaryDirectory(prefix="earlyexit-") as name:
        library = Path(name, "library.so")
        _zig(Path(name), ["cc", "-shared", "-nostdlib", "-O2", "-g0", "-std=c99", str(source), "-o", library.name])
        return library.read_bytes()


def _read(name: str) -> str:
    return (TARGET / name).read_text(encoding="utf-8")


def _compile(folder: Path, unit: str, flags: Sequence[str]) -> None:
    own = _OWN if unit in ("startup.c", "main.c") else ()
    _zig(folder, ["cc", *_MACHINE, *flags, *own, "-c", unit, "-o", f"{unit}.o"])


def _link(folder: Path, units: Sequence[str], roots: Sequence[str], flash: int, ram: int) -> Image:
    script = TARGET / "cortex_m4.ld"
    arguments = ["ld.lld", "-O0", "-T", str(script), "--gc-sections", "--build-id=none", "-Map=map", "-o", "image"]
    arguments += [f"--defsym=flash_length={flash}", f"--defsym=ram_length={ram}"]
    arguments += [f"--undefined={root}" for root in roots]
    try:
        _zig(folder, [*arguments, *(f"{unit}.o" for unit in units)])
    except ValueError as error:
        # One complaint a section, each with all that lies behind the end so far.
        missing = {memory: int(count) for memory, count in _OVERFLOW.findall(str(error))}
        if not missing:
            raise
        parts = _parts((folder / "map").read_text(encoding="utf-8"))
        sizes = {"FLASH": flash, "RAM": ram}
        said = [_too_large(memory, sizes[memory], count, parts) for memory, count in missing.items()]
        raise ValueError("; ".join(said)) from None
    content = (folder / "image").read_bytes()
    parts = _parts((folder / "map").read_text(encoding="utf-8"))
    return Image(content, elf.parse(content), parts, flash, ram)


def _parts(text: str) -> tuple[Part, ...]:
    """Read the linker's map: of each line its address, size, object file and section."""
    found = []
    for line in text.splitlines():
        match = _MAPPED.match(line)
        if match and _section(match[5]):
            address, size, section = int(match[1], 16), int(match[3], 16), match[5]
            file = Path(match[4]).name.removesuffix(".o")
            ram = address >= _RAM_ADDRESS
            name = section.split(".", 2)[2] if section.count(".") > 1 else section
            found.append(Part(file, name, size, section.startswith(".text"), ram, not section.startswith(".bss")))
    return tuple(part for part in found if part.bytes)


def _section(name: str) -> bool:
    return name.startswith((".text", ".rodata", ".data", ".bss", ".vectors"))


def _too_large(memory: str, size: int, missing: int, parts: Sequence[Part]) -> str:
    inside = [part for part in parts if (part.ram if memory == "RAM" else part.values)]
    largest = sorted(inside, key=lambda part: (-part.bytes, part.file, part.name))[:3]
    names = ", ".join(f"{part.name} of {part.file} ({part.bytes:,})" for part in largest)
    return f"the image needs {missing:,} bytes more than the {size:,} of {memory}; the largest parts: {names}"


def _zig(folder: Path, arguments: Sequence[str]) -> None:
    if importlib.util.find_spec("ziglang") is None:
        raise FileNotFoundError("no C compiler for the Cortex-M4: pip install ziglang (it is in requirements.txt)")
    cache = Path(tempfile.gettempdir(), f"earlyexit-zig-{os.getuid()}")
    environment = {"ZIG_GLOBAL_CACHE_DIR": str(cache), "ZIG_LOCAL_CACHE_DIR": str(cache), **os.environ}
    command = [sys.executable, "-m", "ziglang", *arguments]
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    if process.returncode:
        said = process.stderr.decode(errors="replace").strip().splitlines()
        raise ValueError("\n".join([f"zig {arguments[0]} failed:", *said[:20]]))
