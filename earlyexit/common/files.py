"""Outputs that appear whole or not at all: write beside, flush, then rename.

A writer works on `.NAME.xxxxxxxx.part` beside the target NAME, and holds a lock (flock) on this part. The kernel drops
the lock when the writer ends, even when it is killed. So a part without a lock was left by a killed writer; the next
writer of the same target removes it. A fault of the disk is an OSError that names the target.
"""

import ctypes
import errno
import fcntl
import glob
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors of a full disk, a used-up quota, and a file system that holds no file of that size."""
DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""Errors of a place that may not be written."""

_PART = re.compile(r"(^|/)\.([^/]+)\.[0-9a-f]{8}\.part[^/]*")
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a path beside `path` to write a file to; rename it to `path` on success, remove it on failure.

    The folder of `path` is made where it is missing. The file is on disk before it gets its name.

    Raises:
        OSError: the disk is full or `path` may not be written; names `path`, and how much space is left.
    """
    path = Path(path)
    with _explained(path), _part(path, folder=False) as part:
        yield part
        _flush(part)
        part.replace(path)
        _flush(path.parent)


@contextmanager
def replacing_folder(path: Path | str) -> Iterator[Path]:
    """Yield an empty folder beside `path` to fill; on success it takes the place of `path`, else it is removed.

    Where the system can exchange two names (Linux), there is a whole folder at `path` at every moment.

    Raises:
        OSError: the disk is full or `path` may not be written; names `path` or the file in it, and the space left.
    """
    path = Path(path)
    with _explained(path), _part(path, folder=True) as part:
        yield part
        for inner in part.rglob("*"):
            if not inner.is_symlink():
                _flush(inner)
        _flush(part)
        if not path.exists() or not _exchange(part, path):
            if path.exists():
                path.replace(_beside(path, ""))
            part.replace(path)
        _flush(path.parent)
        _remove_leftovers(path, "")


def write_json(path: Path | str, content: Any) -> None:
    """Write `content` as indented JSON, whole or not at all; NaN and infinity are refused (ValueError)."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_text(path, text)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def read_json(path: Path | str) -> Any:
    """Return the content of a JSON file.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is not JSON; names the file.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from error


@contextmanager
def _part(path: Path, *, folder: bool) -> Iterator[Path]:
    """Yield a new, locked, empty part of `path`; remove leftovers first, and at the end the part if it is there."""
    suffix = "" if folder else path.suffix
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path, suffix)
    part, lock = _new_part(path, suffix, folder=folder)
    try:
        yield part
    finally:
        os.close(lock)
        _remove(part)


def _new_part(path: Path, suffix: str, *, folder: bool) -> tuple[Path, int]:
    while True:
        part = _beside(path, suffix)
        if folder:
            part.mkdir()
        else:
            part.touch(exist_ok=False)
        with suppress(FileNotFoundError):
            lock = os.open(part, os.O_RDONLY)
            with suppress(OSError):  # A file system without locks: leftovers stay there.
                fcntl.flock(lock, fcntl.LOCK_EX)
            if part.exists():
                return part, lock
            os.close(lock)  # Another writer took it for a leftover before it was locked.


def _remove_leftovers(path: Path, suffix: str) -> None:
    for part in path.parent.glob(f".{glob.escape(path.name)}.????????.part{glob.escape(suffix)}"):
        with suppress(OSError):  # In use, gone by now, or not ours to remove.
            lock = os.open(part, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(part)
            finally:
                os.close(lock)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part{suffix}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step; return False where the C library, the kernel or the file system cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    names = os.fsencode(first), os.fsencode(second)
    return rename is not None and rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # Some network file systems cannot flush a folder.
            raise
    finally:
        os.close(handle)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Add the name of `path`, or of the file in it, to errors of a full disk or of a place that may not be written."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.strerror != os.strerror(error.errno):
            raise
        file = Path(error.filename or path)
        ours = path.parent in file.parents or file in path.parents
        if error.errno not in FULL | DENIED or not ours:
            raise
        left = f" ({_left(path.parent)})" if error.errno in FULL else ""
        name = _PART.sub(r"\1\2", str(file))
        raise OSError(error.errno, f"{name}: not written: {error.strerror}{left}") from error


def _left(folder: Path) -> str:
    disk = os.statvfs(folder)
    if disk.f_files and not disk.f_favail:
        return "no inodes left"
    return f"{disk.f_bavail * disk.f_frsize:,} bytes free"
