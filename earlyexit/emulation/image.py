"""A linked image for a Cortex-M4: its bytes, its symbols, and which source takes which part of flash and RAM."""

from dataclasses import dataclass
from functools import cached_property
from io import BytesIO

from elftools.elf.elffile import ELFFile


@dataclass(frozen=True)
class Part:
    """A section of an object file in the image.

    Attributes:
        file: name of the C source.
        name: of the function or variable.
        bytes: its size.
        is_code: it holds instructions.
        in_ram: it takes RAM.
        in_flash: it takes flash, for code, constants or the initial values of variables.
    """

    file: str
    name: str
    bytes: int
    is_code: bool
    in_ram: bool
    in_flash: bool


@dataclass(frozen=True)
class Symbol:
    """The address of a function (without the Thumb bit) or of a variable."""

    address: int
    is_function: bool


@dataclass(frozen=True)
class Image:
    """A linked image.

    Attributes:
        content: of the ELF file.
        parts: in the order of their addresses.
        flash_bytes, ram_bytes: sizes of the device's memories.
    """

    content: bytes
    parts: tuple[Part, ...]
    flash_bytes: int
    ram_bytes: int

    def flash(self, file: str | None = None) -> int:
        """Return the bytes of flash that the source `file` takes, or all sources together."""
        return sum(part.bytes for part in self.parts if part.in_flash and file in (None, part.file))

    def code(self, file: str | None = None) -> int:
        """Return the bytes of instructions of the source `file`, or of all sources."""
        return sum(part.bytes for part in self.parts if part.is_code and file in (None, part.file))

    def ram(self, file: str | None = None) -> int:
        """Return the bytes of static variables of the source `file`, or of all sources; the stack is not counted."""
        return sum(part.bytes for part in self.parts if part.in_ram and file in (None, part.file))

    @property
    def files(self) -> list[str]:
        """The sources that have a part in the image, sorted."""
        return sorted({part.file for part in self.parts})

    @cached_property
    def loads(self) -> dict[int, bytes]:
        """The bytes to write to memory, by physical address: initial values of variables lie in flash."""
        segments = ELFFile(BytesIO(self.content)).iter_segments("PT_LOAD")
        return {segment["p_paddr"]: segment.data() for segment in segments if segment["p_filesz"]}

    @cached_property
    def symbols(self) -> dict[str, Symbol]:
        """The functions, variables and addresses that the sources and the linker script define, by name."""
        found = {}
        for symbol in ELFFile(BytesIO(self.content)).get_section_by_name(".symtab").iter_symbols():
            # $t and $d only mark where code and data begin.
            if symbol.name and symbol["st_shndx"] != "SHN_UNDEF" and not symbol.name.startswith("$"):
                is_function = symbol["st_info"]["type"] == "STT_FUNC"
                address = symbol["st_value"] & ~1 if is_function else symbol["st_value"]
                found[symbol.name] = Symbol(address, is_function)
        return found

    def symbol(self, name: str) -> Symbol:
        """Return the symbol `name`.

        Raises:
            ValueError: the image has no symbol of that name.
        """
        if name not in self.symbols:
            raise ValueError(f"the image has no symbol {name}")
        return self.symbols[name]
