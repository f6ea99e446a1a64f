import io
import os
import random
import struct
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earlyexit.common import pool
from earlyexit.raw import zips
from earlyexit.raw.zips import MemberError, members, read

CONTENT = {"a.jpg": b"first " * 50, "b/c.jpg": bytes(range(256)), "é.jpg": b"", "d.jpg": b"x" * 3000}
METHODS = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}


def zipped(content: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in content.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return buffer.getvalue()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.zip"
    path.write_bytes(zipped(CONTENT, zipfile.ZIP_DEFLATED))
    return path


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_reads_what_zipfile_wrote(tmp_path: Path, method: int) -> None:
    (tmp_path / "x.zip").write_bytes(zipped(CONTENT | {"folder/": b""}, method))
    found = members(tmp_path / "x.zip")
    assert {name: read(member) for name, member in found.items()} == CONTENT


def test_reads_zip64_data_descriptors_comments_and_what_stands_in_front(tmp_path: Path) -> None:
    class Unseekable(io.RawIOBase):
        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]
            self.data += bytes(data)
            return len(data)

    file = Unseekable()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = b"a comment"
        for name, data in CONTENT.items():
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                member.write(data)
    path = tmp_path / "x.zip"
    path.write_bytes(b"#!/bin/sh\n" + file.data)
    assert {name: read(member) for name, member in members(path).items()} == CONTENT


def test_directory_of_more_than_65535_members(tmp_path: Path) -> None:
    names = {f"{i}.jpg": b"" for i in range(66_000)}
    (tmp_path / "x.zip").write_bytes(zipped(names))
    found = members(tmp_path / "x.zip")
    assert found.keys() == names.keys()
    assert read(found["65999.jpg"]) == b""


def test_a_missing_zip(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no.zip: no such file; the download stage writes it"):
        members(tmp_path / "no.zip")


@given(st.data())
@settings(max_examples=60)
def test_a_cut_zip_is_no_zip(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = zipped(CONTENT)
    path = tmp_path_factory.mktemp("cut") / "x.zip"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(ValueError, match=r"x.zip: not a whole zip file .*; run the download stage again"):
        members(path)


def test_an_error_page_is_no_zip(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_text("<html>404</html>")
    with pytest.raises(ValueError, match=r"x.zip: not a whole zip file"):
        members(tmp_path / "x.zip")


def test_two_members_of_one_name(tmp_path: Path) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("a.jpg", b"1")
        archive.writestr("a.jpg", b"2")
    with pytest.raises(ValueError, match=r"x.zip: holds a.jpg twice"):
        members(tmp_path / "x.zip")


def test_names_that_lead_out_are_names_only(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.zip").write_bytes(zipped({"../x": b"1", "/etc/passwd": b"2", "C:\\x": b"3"}))
    found = members(tmp_path / "in" / "x.zip")
    assert [read(found[name]) for name in ("../x", "/etc/passwd", "C:\\x")] == [b"1", b"2", b"3"]
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "x.zip"]


@pytest.mark.parametrize(("old", "message"), [(1, "is encrypted"), (1 << 5, "patched"), (1 << 6, "strong encryption")])
def test_encrypted_member(path: Path, old: int, message: str) -> None:
    data = bytearray(path.read_bytes())
    for start, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(start) + offset] |= old
    path.write_bytes(data)
    with pytest.raises(MemberError, match=rf"damaged in its zip \(.*{message}"):
        read(members(path)["a.jpg"])


def test_unknown_method(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(zipped(CONTENT, zipfile.ZIP_LZMA))
    with pytest.raises(MemberError, match="compressed by method 14 in its zip; stored or deflated is needed"):
        read(members(tmp_path / "x.zip")["a.jpg"])


@pytest.mark.parametrize("size", [0, 1000, 2999, 3001, zips.LARGEST, zips.LARGEST + 1, 0xFFFFFFFE])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_member_that_holds_more_or_less_than_listed(tmp_path: Path, method: int, size: int) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(zipped({"d.jpg": b"x" * 3000}, method))
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, size)
    path.write_bytes(data)
    if size > zips.LARGEST:
        message = f"{size} bytes in its zip; at most {zips.LARGEST} are read"
    else:
        message = r"damaged in its zip \((Bad CRC-32|it ends early|3000 bytes, its directory lists)"
    with pytest.raises(MemberError, match=message):
        read(members(path)["d.jpg"])


def test_huge_directory_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zips, "LARGEST_DIRECTORY", 200)
    (tmp_path / "x.zip").write_bytes(zipped(CONTENT))
    with pytest.raises(ValueError, match=r"x.zip: not a whole zip file \(its directory has \d+ bytes\)"):
        members(tmp_path / "x.zip")


def test_zip_that_cannot_be_read_is_no_damaged_member(path: Path) -> None:
    member = members(path)["a.jpg"]
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read(member)


def test_zip_that_has_changed_is_opened_anew(path: Path) -> None:
    assert read(members(path)["d.jpg"]) == CONTENT["d.jpg"]
    path.write_bytes(zipped({"d.jpg": b"new"}))
    assert read(members(path)["d.jpg"]) == b"new"


def test_forked_processes_do_not_share_the_open_file(path: Path) -> None:
    found = list(members(path).values())
    expected = [read(member) for member in found]  # opened here
    with pool.workers(2, method="fork") as workers:
        for contents in (workers.map(read, found * 200), map(read, found * 200)):
            assert list(contents) == expected * 200


def read_or_refuse(data: bytes, path: Path) -> None:
    """Read all members; every error is one of ours, and names the zip or is a member's."""
    path.write_bytes(data)
    try:
        listed = members(path)
    except ValueError as error:
        assert str(error).startswith(str(path))
        return
    for member in listed.values():
        with suppress(MemberError):
            assert len(read(member)) == member.size


EDITS = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 255)), min_size=1, max_size=4)


@given(EDITS, st.sampled_from(list(METHODS.values())))
@settings(max_examples=300)
def test_any_changed_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int]], method: int
) -> None:
    data = bytearray(zipped(CONTENT, method))
    for at, value in edits:
        data[at % len(data)] = value
    read_or_refuse(bytes(data), tmp_path_factory.getbasetemp() / f"fuzz{os.getpid()}.zip")


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=300)
def test_lying_directories_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """Fields of headers, of the directory and of its end, overwritten by extreme or neighbouring values."""
    draw = random.Random(seed)
    data = bytearray(zipped(CONTENT, draw.choice(list(METHODS.values()))))
    places = [at for at in range(len(data) - 4) if data[at : at + 2] == b"PK" and data[at + 2] in (1, 3, 5)]
    for _ in range(draw.randint(1, 3)):
        at = draw.choice(places) + draw.randrange(2, 46)
        width = draw.choice("BHI")
        size = struct.calcsize(f"<{width}")
        if at + size > len(data):
            continue
        old = struct.unpack_from(f"<{width}", data, at)[0]
        value = draw.choice([0, 1, 7, 30, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, old + 1, old - 1, len(data)])
        struct.pack_into(f"<{width}", data, at, value % 256**size)
    read_or_refuse(bytes(data), tmp_path_factory.getbasetemp() / f"lies{os.getpid()}.zip")


@given(st.binary(max_size=300))
@settings(max_examples=200)
def test_anything_behind_an_end_of_directory(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, min(46, len(data)), 0, 0)
    read_or_refuse(data + end, tmp_path_factory.getbasetemp() / f"any{os.getpid()}.zip")
