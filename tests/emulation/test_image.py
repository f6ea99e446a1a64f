import pytest

from earlyexit.emulation import compiler
from tests.emulation import standin


def test_says_what_is_loaded_and_where_symbols_are() -> None:
    image = compiler.build(standin.SOURCES)
    assert image.symbol("ee_run").is_function and image.symbol("ee_run").address % 2 == 0
    assert not image.symbol("arena").is_function
    stack_top, reset = (int.from_bytes(image.loads[0][i : i + 4], "little") for i in (0, 4))
    assert stack_top == image.symbol("stack_top").address == 0x2000_0000 + 67 * 1024
    assert reset == image.symbol("reset").address | 1
    with pytest.raises(ValueError, match="no symbol ee_walk"):
        image.symbol("ee_walk")
