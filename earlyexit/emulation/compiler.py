"""Compile and link C sources for a Cortex-M4, with the clang in the PyPI package ziglang."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from earlyexit.emulation.image import Image, Part

TARGET = Path(__file__).with_name("target")
FLASH_BYTES = 256 * 1024
RAM_BYTES = 67 * 1024
INTERFACE = (
    *("ee_init", "ee_input", "ee_run", "ee_run_segment", "ee_features"),
    *("ee_set_threshold", "ee_get_threshold", "ee_set_patience", "ee_get_patience"),
)
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
# For the test firmware. Without -fno-builtin, memcpy would be compiled into a call of itself.
_FIRMWARE_FLAGS = ("-std=gnu99", "-O2", "-fno-builtin", "-fno-strict-aliasing", "-fno-unroll-loops")
_MAPPED = re.compile(r"^ *([0-9a-f]+) +([0-9a-f]+) +([0-9a-f]+) +\d+ {9}(\S.*):\((\S+)\)$")
_OVERFLOW = re.compile(r"will not fit in region '(\w+)': overflowed by (\d+) bytes")
_RAM_ADDRESS = 0x2000_0000


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

    Startup code with memcpy, memmove and memset is added, and the main.c of the test firmware if `sources` has none.
    There is no library for floating point, so sources that use it do not link. Equal input gives equal bytes.

    Args:
        sources: text of .c and .h files by name; headers of libraries under include/.
        roots: functions to keep although the firmware does not call them.
        defines: macros, "NAME" or "NAME=value".
        optimize: the compiler's level.
        flash, ram: bytes that the device has; 2 KiB of the RAM are kept for the stack.

    Raises:
        ValueError: a source does not compile (with the compiler's first errors), or the image does not fit (with the
            missing bytes of each memory and its largest parts).
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
        ValueError: it does not compile; the message has the compiler's first errors.
    """
    with tempfile.TemporaryDirectory(prefix="earlyexit-") as name:
        library = Path(name, "library.so")
        _zig(Path(name), ["cc", "-shared", "-nostdlib", "-O2", "-g0", "-std=c99", str(source), "-o", library.name])
        return library.read_bytes()


def _read(name: str) -> str:
    return (TARGET / name).read_text(encoding="utf-8")


def _compile(folder: Path, unit: str, flags: Sequence[str]) -> None:
    own = _FIRMWARE_FLAGS if unit in ("startup.c", "main.c") else ()
    _zig(folder, ["cc", *_MACHINE, *flags, *own, "-c", unit, "-o", f"{unit}.o"])


def _link(folder: Path, units: Sequence[str], roots: Sequence[str], flash: int, ram: int) -> Image:
    script = TARGET / "cortex_m4.ld"
    arguments = ["ld.lld", "-O0", "-T", str(script), "--gc-sections", "--build-id=none", "-Map=map", "-o", "image"]
    arguments += [f"--defsym=flash_length={flash}", f"--defsym=ram_length={ram}"]
    arguments += [f"--undefined={root}" for root in roots]
    try:
        _zig(folder, [*arguments, *(f"{unit}.o" for unit in units)])
    except ValueError as error:
        # The linker reports each overflowing section with the cumulative overflow; the last one counts.
        missing = {memory: int(count) for memory, count in _OVERFLOW.findall(str(error))}
        if not missing:
            raise
        parts = _parts((folder / "map").read_text(encoding="utf-8"))
        sizes = {"FLASH": flash, "RAM": ram}
        said = [_too_large(memory, sizes[memory], count, parts) for memory, count in missing.items()]
        raise ValueError("; ".join(said)) from None
    content = (folder / "image").read_bytes()
    parts = _parts((folder / "map").read_text(encoding="utf-8"))
    return Image(content, parts, flash, ram)


def _parts(text: str) -> tuple[Part, ...]:
    """Return the parts of the image that the linker's map `text` lists, a line each."""
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
    inside = [part for part in parts if (part.in_ram if memory == "RAM" else part.in_flash)]
    largest = sorted(inside, key=lambda part: (-part.bytes, part.file, part.name))[:3]
    names = ", ".join(f"{part.name} of {part.file} ({part.bytes:,})" for part in largest)
    return f"the image needs {missing:,} bytes more than the {size:,} of {memory}; the largest parts: {names}"


def _zig(folder: Path, arguments: Sequence[str]) -> None:
    cache = Path(tempfile.gettempdir(), f"earlyexit-zig-{os.getuid()}")
    environment = {"ZIG_GLOBAL_CACHE_DIR": str(cache), "ZIG_LOCAL_CACHE_DIR": str(cache), **os.environ}
    command = [sys.executable, "-m", "ziglang", *arguments]
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    if process.returncode:
        said = process.stderr.decode(errors="replace").strip().splitlines()
        raise ValueError("\n".join([f"zig {arguments[0]} failed:", *said[:20]]))
