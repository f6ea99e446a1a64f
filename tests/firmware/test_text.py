import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earlyexit.firmware.text import comment, count, fill, float_literal, shape_text, text_literal


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_float_literals_give_the_value_back(value: float) -> None:
    literal = float_literal(value)
    assert literal.endswith("f")
    assert set(".e") & set(literal)
    assert np.float32(literal[:-1]) == np.float32(value)


def test_text_literals_give_the_text_back(tmp_path: Path) -> None:
    text = 'no "person" \\ ??= \t7 \u00e5\u4eba'
    (tmp_path / "main.c").write_text(
        f"#include <stdio.h>\nint main(void) {{ return fputs({text_literal(text)}, stdout) < 0; }}\n"
    )
    command = ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "main.c", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "main"], capture_output=True, check=True).stdout.decode() == text


@given(st.one_of(st.text(), st.text('*/ ?\\\n"a', max_size=300)))
def test_no_text_leaves_a_comment(text: str) -> None:
    lines = comment(text).split("\n")
    for mark in ("*/", "/*", "??", "\\"):
        assert not any(mark in line for line in lines)
    assert all(line.isascii() and line.isprintable() and len(line) <= 110 for line in lines)
    assert all(line.startswith(" * ") for line in lines if line)


def test_comments_are_the_words_of_the_text() -> None:
    words = "A sentence, with 1 % and a/b * c. " * 9
    assert comment(words).replace("\n * ", " ") == f" * {words.strip()}"


def test_words() -> None:
    assert (count(1, "exit"), count(0, "exit"), count(3, "exit")) == ("1 exit", "0 exits", "3 exits")
    assert shape_text((96, 96, 3)) == "96x96x3"


def test_templates_miss_no_value() -> None:
    with pytest.raises(KeyError):
        fill("ee.h", title="a network")
