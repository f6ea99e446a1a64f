import json
import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from earlyexit.files import read_json, replacing, replacing_folder, write_json, write_text


class FullDiskError(Exception):
    pass


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "down" / "table.json"
    with replacing(path) as part:
        part.write_text("new", encoding="utf-8")
        assert not path.exists()
        assert part.parent == path.parent  # a rename works on one file system only
        assert part.suffix == ".json"  # some writers append it where it is missing
    assert path.read_text(encoding="utf-8") == "new"
    assert names(path.parent) == ["table.json"]


def test_a_folder_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "models"
    path.mkdir(parents=True)
    (path / "stale").write_text("old", encoding="utf-8")
    with replacing_folder(path) as part:
        (part / "inner").mkdir()
        (part / "inner" / "a").write_text("new", encoding="utf-8")
        assert names(path) == ["stale"]
    assert names(path) == ["inner"]
    assert (path / "inner" / "a").read_text(encoding="utf-8") == "new"
    assert names(path.parent) == ["models"]


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("error", [FullDiskError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(tmp_path: Path, there: bool, error: type[BaseException]) -> None:
    path = tmp_path / "a.json"
    if there:
        path.write_text("old", encoding="utf-8")
    with pytest.raises(error), replacing(path) as part:
        part.write_text("half", encoding="utf-8")
        raise error
    assert names(tmp_path) == (["a.json"] if there else [])
    assert not there or path.read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize("there", [False, True])
def test_a_failure_leaves_the_folder_that_was_there(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "models"
    if there:
        path.mkdir()
        (path / "a").write_text("old", encoding="utf-8")
    with pytest.raises(FullDiskError), replacing_folder(path) as part:
        (part / "a").write_text("half", encoding="utf-8")
        raise FullDiskError
    assert names(tmp_path) == (["models"] if there else [])
    assert not there or (path / "a").read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize("write", [replacing, replacing_folder])
def test_permissions_are_those_of_any_new_file(
    tmp_path: Path, write: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    before = os.umask(0o027)
    try:
        with write(tmp_path / "out") as part:
            if part.is_file():
                part.write_text("x", encoding="utf-8")
        mode = (tmp_path / "out").stat().st_mode & 0o777
        assert mode == (0o640 if (tmp_path / "out").is_file() else 0o750)
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


@pytest.mark.parametrize("write", [replacing, replacing_folder])
def test_a_parent_that_is_a_file(tmp_path: Path, write: Callable[[Path], AbstractContextManager[Path]]) -> None:
    (tmp_path / "file").write_text("kept", encoding="utf-8")
    with pytest.raises(OSError, match="file"), write(tmp_path / "file" / "out"):
        raise AssertionError("nothing can be written here")
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(PermissionError):
            write_text(tmp_path / "a.md", "x")
    finally:
        tmp_path.chmod(0o755)
    assert names(tmp_path) == []


def test_json_round_trip_in_the_order_given(tmp_path: Path) -> None:
    content = {"b": 1, "a": [0.1, None, "ä", True], "c": {"z": 1, "y": 2}}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content
    assert list(read_json(tmp_path / "a.json")) == ["b", "a", "c"]
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == json.dumps(content, indent=2) + "\n"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_json_has_no_nan(tmp_path: Path, value: float) -> None:
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"x": value})
    assert read_json(tmp_path / "a.json") == {"old": 1}
    assert names(tmp_path) == ["a.json"]


def test_text_is_utf8_as_given(tmp_path: Path) -> None:
    write_text(tmp_path / "a.md", "µs – 95 %\n")
    assert (tmp_path / "a.md").read_bytes() == "µs – 95 %\n".encode()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"a": 1} x'])
def test_what_is_no_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.json: not valid JSON"):
        read_json(path)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.json"):
        read_json(tmp_path / "a.json")
