import pytest

from earlyexit.emulation import compiler, elf
from tests.emulation import standin


def test_finds_what_is_loaded_and_what_it_is_called() -> None:
    image = compiler.build(standin.SOURCES)
    layout = elf.parse(image.content)
    assert layout["ee_run"].function and layout["ee_run"].address % 2 == 0
    assert layout["ee_run"].size == next(part.bytes for part in image.parts if part.name == "ee_run")
    assert (layout["arena"].size, layout["arena"].function) == (48, False)
    assert layout.loads[0].address == 0
    stack_top, reset = (int.from_bytes(layout.loads[0].content[i : i + 4], "little") for i in (0, 4))
    assert stack_top == layout["stack_top"].address == 0x2000_0000 + 67 * 1024
    assert reset == layout["reset"].address | 1
    with pytest.raises(ValueError, match="no symbol ee_walk"):
        layout["ee_walk"]


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"MZ" + bytes(60), b"\x7fELF\x02\x01\x01" + bytes(60)])
def test_refuses_what_is_no_image(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a 32-bit"):
        elf.parse(content)


@pytest.mark.parametrize("length", [40, 60, 2000])
def test_refuses_half_an_image(length: int) -> None:
    content = compiler.build(standin.SOURCES).content[:length]
    with pytest.raises(ValueError, match=f"damaged ELF file of {length:,} bytes"):
        elf.parse(content)
