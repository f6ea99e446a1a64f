"""A linked 32-bit ARM image (ELF): what goes into memory where, and the addresses of its symbols."""

import struct
from dataclasses import dataclass

_IDENTIFIER = b"\x7fELF\x01\x01\x01"  # 32 bits, little-endian, version 1
_ARM = 40
_LOAD = 1
_SYMBOLS, _STRINGS = 2, 3
_FUNCTION = 2
_LONGEST_NAME = 4096


@dataclass(frozen=True)
class Load:
    """Bytes that a programmer writes to `address` (physical: initial values of RAM lie in flash)."""

    address: int
    content: bytes


@dataclass(frozen=True)
class Symbol:
    """A symbol with its address (the Thumb bit of a function removed) and size in bytes."""

    address: int
    size: int
    function: bool


@dataclass(frozen=True)
class Elf:
    """What `parse` found; of local symbols of the same name the last one."""

    loads: tuple[Load, ...]
    symbols: dict[str, Symbol]

    def __getitem__(self, name: str) -> Symbol:
        """Return a symbol; ValueError where the image has none of that name."""
        if name not in self.symbols:
            raise ValueError(f"the image has no symbol {name}")
        return self.symbols[name]


def parse(content: bytes) -> Elf:
    """Read a linked image.

    Raises:
        ValueError: `content` is no 32-bit little-endian ARM ELF file, or a damaged one.
    """
    if content[:7] != _IDENTIFIER or content[18:19] != bytes([_ARM]):
        raise ValueError("not a 32-bit little-endian ARM ELF file")
    try:
        return _parse(content)
    except (struct.error, IndexError, ValueError) as error:
        raise ValueError(f"damaged ELF file of {len(content):,} bytes: {error}") from None


def _parse(content: bytes) -> Elf:
    programs, sections = struct.unpack_from("<II", content, 28)
    program_size, program_count, section_size, section_count = struct.unpack_from("<HHHH", content, 42)
    loads = []
    for number in range(program_count):
        kind, offset, _, address, size = struct.unpack_from("<IIIII", content, programs + number * program_size)
        if kind == _LOAD and size:
            loads.append(Load(address, _slice(content, offset, size)))
        if sum(len(load.content) for load in loads) > len(content):
            raise ValueError("what is loaded overlaps")
    headers = [
        struct.unpack_from("<IIIIIIIIII", content, sections + number * section_size) for number in range(section_count)
    ]
    tables = [header for header in headers if header[1] == _SYMBOLS and headers[header[6]][1] == _STRINGS]
    if len(tables) > 1:
        raise ValueError(f"{len(tables)} symbol tables, expected one")
    symbols = {}
    for header in tables:
        names = _slice(content, *headers[header[6]][4:6])
        symbols.update(_symbols(_slice(content, *header[4:6]), names))
    return Elf(tuple(loads), symbols)


def _symbols(table: bytes, names: bytes) -> dict[str, Symbol]:
    found = {}
    for name, value, size, info, _, section in struct.iter_unpack("<IIIBBH", table):
        text = names[name : names.index(0, name, name + _LONGEST_NAME)].decode()
        if text and section and not text.startswith("$"):  # $t, $d: where code and data begin, not symbols of anyone
            function = info & 15 == _FUNCTION
            found[text] = Symbol(value & ~1 if function else value, size, function)
    return found


def _slice(content: bytes, offset: int, size: int) -> bytes:
    if offset + size > len(content):
        raise ValueError(f"bytes {offset:,} to {offset + size:,} are outside")
    return content[offset : offset + size]
