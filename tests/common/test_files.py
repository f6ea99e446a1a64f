import errno
import json
import math
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from earlyexit.common import files
from earlyexit.common.files import read_json, replacing, replacing_folder, write_json, write_text
from tests.waiting import LONGER

Write = Callable[[Path], AbstractContextManager[Path]]
SPAWN = multiprocessing.get_context("spawn")


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
def test_permissions_are_those_of_any_new_file(tmp_path: Path, write: Write) -> None:
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
def test_a_parent_that_is_a_file(tmp_path: Path, write: Write) -> None:
    (tmp_path / "file").write_text("kept", encoding="utf-8")
    with pytest.raises(OSError, match="file"), write(tmp_path / "file" / "out"):
        raise AssertionError("nothing can be written here")
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(PermissionError, match=r"a\.md: not written: Permission denied$"):
            write_text(tmp_path / "a.md", "x")
    finally:
        tmp_path.chmod(0o755)
    assert names(tmp_path) == []


def write_and_wait(write: Write, path: Path, said: Connection) -> None:
    with write(path) as part:
        (part / "half" if part.is_dir() else part).write_text("half", encoding="utf-8")
        said.send(part.name)
        time.sleep(LONGER)


@pytest.mark.parametrize("write", [replacing, replacing_folder])
def test_a_killed_writer_leaves_a_part_that_the_next_writer_removes(tmp_path: Path, write: Write) -> None:
    path = tmp_path / "out.x"
    heard, said = SPAWN.Pipe(duplex=False)
    writer = SPAWN.Process(target=write_and_wait, args=(write, path, said))
    writer.start()
    try:
        part = heard.recv()
        with write(path):
            assert part in names(tmp_path)  # its writer lives
        assert sorted([part, "out.x"]) == names(tmp_path)
    finally:
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
    with write(tmp_path / "out"), write(tmp_path / "out.xx"), write(tmp_path / "t.x"):
        assert part in names(tmp_path)  # of another target
    with write(path):
        assert part not in names(tmp_path)
    assert names(tmp_path) == ["out", "out.x", "out.xx", "t.x"]


def test_two_writers_of_one_target(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    with replacing(path) as first, replacing(path) as second:
        first.write_text("first", encoding="utf-8")
        second.write_text("second", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "first"
    assert names(tmp_path) == ["a.md"]


@pytest.mark.parametrize("exchanged", [True, False])
def test_a_folder_takes_the_place_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanged: bool) -> None:
    if not exchanged:
        monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    path = tmp_path / "models"
    for content in ("old", "new"):
        with replacing_folder(path) as part:
            (part / content).write_text(content, encoding="utf-8")
    assert names(path) == ["new"]
    assert names(tmp_path) == ["models"]


@pytest.mark.skipif(sys.platform != "linux", reason="the C library of Linux has renameat2")
def test_there_is_a_whole_folder_at_every_moment(tmp_path: Path) -> None:
    path = tmp_path / "state"
    script = (
        "import itertools, sys\n"
        "from earlyexit.common.files import replacing_folder\n"
        "for number in itertools.count():\n"
        "    with replacing_folder(sys.argv[1]) as part:\n"
        "        for name in 'ab':\n"
        "            (part / name).write_text(str(number))\n"
        "    print(number, flush=True)\n"
    )
    for _ in range(8):
        with subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            for _ in range(200):
                assert path.is_dir()
            writer.kill()
        assert names(path) == ["a", "b"]
        assert (path / "a").read_text() == (path / "b").read_text()
    with replacing_folder(path):
        pass
    assert names(tmp_path) == ["state"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("write", [replacing, replacing_folder])
def test_a_full_disk_is_explained(tmp_path: Path, write: Write, number: int) -> None:
    words = rf"out\.x: not written: {os.strerror(number)} \([\d,]+ bytes free\)$"
    with pytest.raises(OSError, match=words) as caught, write(tmp_path / "out.x"):
        raise OSError(number, os.strerror(number))
    assert caught.value.errno == number
    assert names(tmp_path) == []


def test_no_inodes_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = os.statvfs_result((4096, 4096, 1000, 500, 500, 100, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    with pytest.raises(OSError, match=r"\(no inodes left\)$"), replacing(tmp_path / "a"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_denied_place_is_named_without_its_part(tmp_path: Path, number: int) -> None:
    words = rf"models/deep/a: not written: {os.strerror(number)}$"
    with pytest.raises(OSError, match=words) as caught, replacing_folder(tmp_path / "models") as part:
        raise OSError(number, os.strerror(number), str(part / "deep" / "a"))
    assert caught.value.errno == number


def test_a_fault_inside_keeps_the_name_that_it_got_first(tmp_path: Path) -> None:
    words = r"models/a\.json: not written: No space left on device \("
    with (
        pytest.raises(OSError, match=words),
        replacing_folder(tmp_path / "models") as part,
        replacing(part / "a.json"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file or directory", "x"), OSError("own words")])
def test_other_faults_stay_as_they_are(tmp_path: Path, error: OSError) -> None:
    with pytest.raises(OSError) as caught, replacing(tmp_path / "a"):
        raise error
    assert caught.value is error


def test_what_may_not_be_read_is_not_called_unwritten(tmp_path: Path) -> None:
    error = PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/elsewhere/photo.jpg")
    with pytest.raises(PermissionError) as caught, replacing(tmp_path / "a"):
        raise error
    assert caught.value is error


def test_permissions_do_not_depend_on_how_a_writer_makes_the_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "x")
    (tmp_path / "b").touch()
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


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
