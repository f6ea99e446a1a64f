"""Zips read as they are: one process reads the directory, any process reads members by their place in the file.

No member is ever written anywhere, so a name that leads out of a folder does no harm.
"""

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

LARGEST = 64 << 20
"""Bytes of the largest member that is read: a photograph is far smaller."""
LARGEST_DIRECTORY = 256 << 20
"""Bytes of the largest directory that is read: two million photographs."""

_HEADER = struct.Struct("<4sHHHHHIIIHH")
_UTF8, _UNREADABLE = 0x800, 0x61  # encrypted, patched, strongly encrypted


class MemberError(ValueError):
    """A member that cannot be read: damaged, or of a kind that is not supported."""


@dataclass(frozen=True, slots=True)
class Member:
    """Where a member of a zip lies, as the directory says.

    Attributes:
        path: the zip.
        name: the member's name, as its own header must repeat it.
        start: offset of its header in bytes.
        end: offset of what follows it.
        packed: its bytes in the zip; `size`: those of its content.
        method: 0 stored, 8 deflated.
        flags: general purpose bits.
        crc: CRC-32 of the content.
    """

    path: Path
    name: str
    start: int
    end: int
    packed: int
    size: int
    method: int
    flags: int
    crc: int


def members(path: Path) -> dict[str, Member]:
    """Read the directory of a zip: its members by name, folders left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a whole zip, or two members of the same name.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; the download stage writes it")
    try:
        with _Capped(path) as file, zipfile.ZipFile(file) as archive:
            listed, end = archive.infolist(), archive.start_dir
    except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError, OverflowError) as error:
        raise ValueError(f"{path}: not a whole zip file ({error}); run the download stage again") from None
    found: dict[str, Member] = {}
    for info in sorted(listed, key=lambda info: info.header_offset, reverse=True):
        start, behind = info.header_offset, end
        end = min(start, end)
        if info.filename.endswith("/"):
            continue
        if info.filename in found:
            raise ValueError(f"{path}: holds {info.filename} twice; the names of its members must differ")
        sizes = info.compress_size, info.file_size
        found[info.filename] = Member(
            path, info.orig_filename, start, behind, *sizes, info.compress_type, info.flag_bits, info.CRC
        )
    return found


def read(member: Member) -> bytes:
    """Read the content of a member.

    Raises:
        MemberError: encrypted, neither stored nor deflated, larger than `LARGEST`, or not what the directory says: in
            its name, its size, its checksum, or because it reaches into what follows it.
        OSError: the zip cannot be read.
    """
    if member.flags & _UNREADABLE:
        raise MemberError("encrypted in its zip")
    if member.method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise MemberError(f"compressed by method {member.method} in its zip; stored or deflated is needed")
    if max(member.size, member.packed) > LARGEST:
        raise MemberError(f"{max(member.size, member.packed)} bytes in its zip; at most {LARGEST} are read")
    packed = _packed(member)
    if member.method == zipfile.ZIP_DEFLATED:
        try:
            # One byte more than announced shows that there is more.
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, member.size + 1)
        except zlib.error as error:
            raise MemberError(f"not to be inflated ({error})") from None
    else:
        content = packed
    if len(content) != member.size:
        raise MemberError(f"not the {member.size} bytes in its zip that the zip's directory lists")
    if zlib.crc32(content) != member.crc:
        raise MemberError("its CRC-32 is not what the zip's directory lists")
    return content


def _packed(member: Member) -> bytes:
    """Return a member's bytes as they are in the zip."""
    behind = member.start + _HEADER.size
    if not 0 <= member.start < behind <= member.end:
        raise MemberError("not where the zip's directory says")
    with member.path.open("rb", buffering=0) as file:
        file.seek(member.start)
        header = file.read(_HEADER.size)
        if len(header) != _HEADER.size or not header.startswith(b"PK\x03\x04"):
            raise MemberError("not where the zip's directory says")
        _, _, flags, *_, name_length, extra_length = _HEADER.unpack(header)
        behind += name_length + extra_length
        if behind + member.packed > member.end:
            raise MemberError("overlaps what follows it in its zip")
        name = file.read(name_length).decode("utf-8" if flags & _UTF8 else "cp437", "surrogateescape")
        if name != member.name:
            raise MemberError("named otherwise in the zip's directory")
        file.seek(behind)
        packed = file.read(member.packed)
    if len(packed) != member.packed:
        raise MemberError("cut off in its zip")
    return packed


class _Capped(io.FileIO):
    """A file that hands out no more at once than a directory may have: a damaged zip can announce any size."""

    def read(self, size: int | None = -1) -> bytes:
        """Read as FileIO does."""
        if size is not None and size > LARGEST_DIRECTORY:
            raise ValueError(f"its directory has {size} bytes")
        return super().read(size)
