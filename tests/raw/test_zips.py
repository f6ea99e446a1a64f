import io
import os
import random
import struct
import warnings
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


def changed(path: Path, old: bytes, new: bytes, count: int = -1) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, count))


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


def test_encrypted_member(path: Path) -> None:
    member = members(path)["a.jpg"]
    for bit in (0, 5, 6):
        with pytest.raises(MemberError, match="encrypted in its zip"):
            read(replace(member, flags=member.flags | 1 << bit))


def test_unknown_method(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(zipped(CONTENT, zipfile.ZIP_LZMA))
    with pytest.raises(MemberError, match="compressed by method 14 in its zip; stored or deflated is needed"):
        read(members(tmp_path / "x.zip")["a.jpg"])


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_flipped_bits(tmp_path: Path, method: int) -> None:
    (tmp_path / "x.zip").write_bytes(zipped(CONTENT, method))
    data = bytearray((tmp_path / "x.zip").read_bytes())
    member = members(tmp_path / "x.zip")["a.jpg"]
    refused = 0
    for at in range(member.end - member.packed, member.end):
        data[at] ^= 4
        (tmp_path / "x.zip").write_bytes(data)
        data[at] ^= 4
        try:
            assert read(member) == CONTENT["a.jpg"]
        except MemberError:
            refused += 1
    # The last byte of a deflated member is padded with bits that mean nothing.
    assert refused >= member.packed - (method == zipfile.ZIP_DEFLATED)


def test_member_that_holds_more_or_less_than_listed(path: Path) -> None:
    member = members(path)["d.jpg"]
    for size in (0, 2999, 3001, zips.LARGEST):
        with pytest.raises(MemberError, match=f"not the {size} bytes in its zip that the zip's directory lists"):
            read(replace(member, size=size, crc=zlib.crc32(b"x" * size)))


def test_huge_member_is_not_read(path: Path) -> None:
    member = members(path)["d.jpg"]
    for huge in (replace(member, size=1 << 62), replace(member, packed=1 << 62)):
        with pytest.raises(MemberError, match=f"{1 << 62} bytes in its zip; at most {zips.LARGEST} are read"):
            read(huge)


def test_bomb_is_stopped_where_its_announced_size_ends(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(zipped({"a.jpg": bytes(64 << 20)}, zipfile.ZIP_DEFLATED))
    changed(path, struct.pack("<I", 64 << 20), struct.pack("<I", 1000))
    with pytest.raises(MemberError, match="not the 1000 bytes"):
        read(members(path)["a.jpg"])


def test_huge_directory_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zips, "LARGEST_DIRECTORY", 200)
    (tmp_path / "x.zip").write_bytes(zipped(CONTENT))
    with pytest.raises(ValueError, match=r"x.zip: not a whole zip file \(its directory has \d+ bytes\)"):
        members(tmp_path / "x.zip")


def test_wrong_places(path: Path) -> None:
    found = members(path)
    first, second = found["a.jpg"], found["b/c.jpg"]
    for start in (-1, 1, second.end - 4, second.end, 1 << 62):
        with pytest.raises(MemberError, match="not where the zip's directory says"):
            read(replace(first, start=start))
    with pytest.raises(MemberError, match="named otherwise in the zip's directory"):
        read(replace(second, start=first.start, end=first.end, packed=first.packed))
    with pytest.raises(MemberError, match="overlaps what follows"):
        read(replace(first, end=first.end - 1))


def test_overlapping_members(tmp_path: Path) -> None:
    """Two entries of the directory that share one body, as in a zip bomb."""
    path = tmp_path / "x.zip"
    path.write_bytes(zipped({"a.jpg": b"1" * 90, "b.jpg": b"2" * 90}))
    second = path.read_bytes().index(b"PK\x03\x04", 1)
    data = path.read_bytes()
    at = data.rindex(struct.pack("<I", second), 0, data.rindex(b"PK\x05\x06"))
    path.write_bytes(data[:at] + bytes(4) + data[at + 4 :])
    outcomes = []
    for member in members(path).values():
        try:
            outcomes.append(read(member))
        except MemberError as error:
            outcomes.append(str(error).encode())
    assert b"2" * 90 not in outcomes and any(b"directory" in outcome for outcome in outcomes)


def test_zip_that_cannot_be_read_is_no_damaged_member(path: Path) -> None:
    member = members(path)["a.jpg"]
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read(member)


def honest(info: zipfile.ZipInfo, content: bytes) -> bool:
    """Tell whether a member is what its sizes say; zipfile cuts off what is more, or makes do with less."""
    stored = info.compress_type == zipfile.ZIP_STORED
    return len(content) == info.file_size and (not stored or info.compress_size == info.file_size)


def oracle(path: Path) -> dict[str, bytes | None] | None:
    """What zipfile reads of every member, None for one that it does not; or None for the zip."""
    found: dict[str, bytes | None] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.filename.endswith("/"):
                    continue
                if info.filename in found:
                    return None
                try:
                    content = archive.read(info)
                    found[info.filename] = content if honest(info, content) else None
                except Exception:
                    found[info.filename] = None
    except Exception:
        return None
    return found


def ours(path: Path) -> dict[str, bytes | None] | None:
    try:
        listed = members(path)
    except ValueError:
        return None
    found: dict[str, bytes | None] = {}
    for name, member in listed.items():
        try:
            found[name] = read(member)
        except MemberError:
            found[name] = None
    return found


def lying(path: Path, name: str) -> bool:
    """Tell whether a member that zipfile reads reaches into what follows, or holds more than its listed size.

    Younger versions of zipfile refuse the first too; of the second it returns the beginning.
    """
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        starts = [info.header_offset for info in archive.infolist()]
        info = archive.getinfo(name)
        ends = [start for start in starts if start > info.header_offset] + [archive.start_dir]
    body = info.header_offset + 30 + sum(struct.unpack_from("<HH", data, info.header_offset + 26))
    if body + info.compress_size > min(ends) or starts.count(info.header_offset) > 1 or not info.file_size:
        return True
    return len(zlib.decompressobj(-15).decompress(data[body : body + info.compress_size])) > info.file_size


def agree(path: Path) -> None:
    expected, found = oracle(path), ours(path)
    if expected is None or found is None:
        assert expected == found
        return
    assert expected.keys() == found.keys()
    for name, content in found.items():
        if content != expected[name]:
            assert content is None
            assert lying(path, name)


EDITS = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 255)), min_size=1, max_size=4)


@given(EDITS, st.sampled_from(list(METHODS.values())))
@settings(max_examples=500)
def test_any_changed_bytes_are_read_as_zipfile_does_or_refused(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int]], method: int
) -> None:
    data = bytearray(zipped(CONTENT, method))
    for at, value in edits:
        data[at % len(data)] = value
    path = tmp_path_factory.getbasetemp() / f"fuzz{os.getpid()}.zip"
    path.write_bytes(data)
    agree(path)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=500)
def test_lying_directories_are_read_as_zipfile_does_or_refused(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
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
    path = tmp_path_factory.getbasetemp() / f"lies{os.getpid()}.zip"
    path.write_bytes(data)
    agree(path)


@given(st.binary(max_size=300))
@settings(max_examples=300)
def test_anything_behind_an_end_of_directory(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{os.getpid()}.zip"
    path.write_bytes(data + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, min(46, len(data)), 0, 0))
    agree(path)
