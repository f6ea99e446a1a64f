"""Photographs read from zips, as the standard library reads them.

No member is ever unpacked to a file, so a name that leads out of a folder does no harm.
"""

import io
import os
import struct
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

LARGEST = 64 << 20
"""Bytes of the largest member that is read: a photograph is far smaller."""
LARGEST_DIRECTORY = 256 << 20
"""Bytes of the largest directory that is read: two million photographs."""

# Whatever zipfile passes on where a zip is damaged. RuntimeError covers encryption and unknown features.
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OverflowError)


class MemberError(ValueError):
    """A member that cannot be read: damaged, or of a kind that is not supported."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a zip, as the zip's directory lists it.

    Attributes:
        path: the zip.
        name: the member's name in the zip.
        size: bytes of its content.
        crc: CRC-32 of its content.
    """

    path: Path
    name: str
    size: int
    crc: int


def members(path: Path) -> dict[str, Member]:
    """Return the members of a zip by name, folders left out.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a whole zip, or two of its members have the same name.
    """
    found: dict[str, Member] = {}
    for info in _open(path).infolist():
        if info.filename.endswith("/"):
            continue
        if info.filename in found:
            raise ValueError(f"{path}: holds {info.filename} twice; the names of its members must differ")
        found[info.filename] = Member(path, info.filename, info.file_size, info.CRC)
    return found


def read(member: Member) -> bytes:
    """Return the content of a member.A process reads the directory of each zip once.

    Raises:
        MemberError: it is encrypted, neither stored nor deflated, larger than `LARGEST`, or damaged.
        OSError: the zip cannot be read.
        ValueError: it is not a whole zip any more.
    """
    stat = member.path.stat()
    archive = _opened(member.path, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    info = archive.getinfo(member.name)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise MemberError(f"compressed by method {info.compress_type} in its zip; stored or deflated is needed")
    if info.file_size > LARGEST:
        raise MemberError(f"{info.file_size} bytes in its zip; at most {LARGEST} are read")
    if info.header_offset < 0:
        raise MemberError("damaged in its zip (it would start before the zip)")
    try:
        content = archive.read(info)
    except _DAMAGE as error:
        raise MemberError(f"damaged in its zip ({str(error) or 'it ends early'})") from None
    if len(content) != info.file_size:
        raise MemberError(f"damaged in its zip ({len(content)} bytes, its directory lists {info.file_size})")
    return content


@lru_cache(maxsize=4)
def _opened(path: Path, *_state: int) -> zipfile.ZipFile:
    return _open(path)  # a zip that has changed since is opened anew


# A forked process would share the offset in the open file with its parent: it opens the zip anew.
os.register_at_fork(after_in_child=_opened.cache_clear)


def _open(path: Path) -> zipfile.ZipFile:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; the download stage writes it")
    try:
        return zipfile.ZipFile(_Capped(path))
    except _DAMAGE as error:
        raise ValueError(f"{path}: not a whole zip file ({error}); run the download stage again") from None


class _Capped(io.FileIO):
    """A file that refuses to read more at once than a directory may have: a damaged zip can announce any size."""

    def read(self, size: int | None = -1) -> bytes:
        """Read as FileIO does."""
        if size is not None and size > LARGEST_DIRECTORY:
            raise ValueError(f"its directory has {size} bytes")
        return super().read(size)

    def __del__(self) -> None:
        self.close()  # zipfile closes only files that it has opened itself.
