"""Photographs in two class folders, one of them named person: a folder, or MLPerf Tiny's archive of 96 x 96 pixels.

A class tells whether there is a person, but not where. So an image of the class person gets one box that covers all of
it.

Photographs are the files with one of `SUFFIXES` at any depth below a class folder; hidden files and folders are left
out. The split is that of Keras' ImageDataGenerator(validation_split=...), with which MLPerf Tiny's reference was
trained: each class is sorted by folder and file name, and its first share (rounded down) is val.
"""

import gzip
import io
import os
import posixpath
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image
from tqdm import tqdm

from earlyexit.raw import layout
from earlyexit.sources.fetch import Remote

PERSON = "person"
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff")

ARCHIVE = "vw_coco2014_96.tar.gz"
# Bytes and digest as users of the file check them; the host publishes neither.
_ARCHIVE_SIZE = 234_810_765
_ARCHIVE_DIGEST = "sha256:f8746b9e44f8a7a4293f73be9ba6e8da9239fe69798d42364aae62b915cfab58"

# Only these headers are parsed: those that packing decodes, and those of the other `SUFFIXES`.
_FORMATS = (*layout.FORMATS, "PPM", "TIFF")

_LIMIT = 2**26  # bytes of a file in an archive; also of what is read from it at once
_LONGEST_NAME = 1024
_BLOCK = 2**20

_Read = Callable[[list[str]], Iterator[tuple[str, bytes]]]


def remote(url: str, digests: Mapping[str, str] | None) -> Remote:
    """Return MLPerf Tiny's archive as a download.

    Args:
        url: the archive's address.
        digests: "md5:..." or "sha256:..." by file name, for an archive of other content; None for the official one.

    Raises:
        ValueError: `digests` lacks the archive.
    """
    if digests is None:
        return Remote(url, ARCHIVE, _ARCHIVE_SIZE, _ARCHIVE_DIGEST)
    if ARCHIVE not in digests:
        raise ValueError(f"the checksums lack {ARCHIVE}")
    return Remote(url, ARCHIVE, digest=digests[ARCHIVE])


def store_folder(source: Path, folder: Path, *, val_share: float) -> dict[str, tuple[int, int]]:
    """Bring a folder of two class folders into the raw layout, every file byte for byte.

    Files that cannot be read as images are stored too, and listed as 1 x 1: packing decides what to do about these.

    Args:
        source: the folder that holds the class folders.
        folder: an existing, empty folder to fill.
        val_share: the share of each class that is val, between 0 and 1.

    Returns:
        for each split, the numbers of stored and of listed photographs.

    Raises:
        ValueError: there are not two class folders with photographs, none is named person, a class is too small for
            the share, or a file name cannot be used.
        OSError: a file cannot be read or written.
    """

    def read(names: list[str]) -> Iterator[tuple[str, bytes]]:
        return ((name, (source / name).read_bytes()) for name in names)

    return _store(folder, _split(source, list(_names_in_folder(source)), val_share), read)


def store_archive(path: Path, folder: Path, *, val_share: float) -> dict[str, tuple[int, int]]:
    """Bring a tar.gz archive of two class folders into the raw layout, as `store_folder` does; nothing is unpacked.

    The class folders may lie below other folders that hold nothing else. The archive is read once for its names and
    once for each split.

    Raises:
        ValueError: as in `store_folder`; or the archive is damaged, or has a link, a device, a file over 64 MiB, a path
            that leads out of its folder, or the same path twice.
    """
    paths = list(_names_in_archive(path))
    root = posixpath.commonpath([posixpath.dirname(name) for name in paths]) if paths else ""
    names = [str(PurePosixPath(name).relative_to(root)) for name in paths]

    def read(names: list[str]) -> Iterator[tuple[str, bytes]]:
        return _read_archive(path, {posixpath.join(root, name): name for name in names})

    return _store(folder, _split(path, names, val_share), read)


def _split(source: Path, names: Iterable[str], val_share: float) -> dict[str, list[str]]:
    """Assign the photographs, named <class folder>/.../<file>, to train and val."""
    if not 0 < val_share < 1:
        raise ValueError(f"val_share is {val_share}; it must lie between 0 and 1")
    classes: dict[str, list[str]] = {}
    for name in sorted(names, key=posixpath.split):
        if not name.isprintable() or "\\" in name or len(name) > _LONGEST_NAME:
            raise ValueError(f"{source}: {name[:80]!r}: file names must be short and printable, without backslash")
        if "/" in name:
            classes.setdefault(name.partition("/")[0], []).append(name)
    if len(classes) != 2 or PERSON not in classes:
        found = ", ".join(sorted(classes)[:5]) or "none"
        raise ValueError(
            f"{source}: folders with photographs ({' '.join(SUFFIXES)}): {found}; exactly two are needed, one of them "
            f"named {PERSON}"
        )
    splits: dict[str, list[str]] = {split: [] for split in layout.SOURCE_SPLITS}
    for label, files in sorted(classes.items()):
        held_out = int(val_share * len(files))
        if not held_out:
            raise ValueError(
                f"{source}: val_share = {val_share:g} of the {len(files)} photographs of {label} is less than one"
            )
        splits["val"] += files[:held_out]
        splits["train"] += files[held_out:]
    return splits


def _store(folder: Path, splits: dict[str, list[str]], read: _Read) -> dict[str, tuple[int, int]]:
    first_id = 1
    for split, names in splits.items():
        sizes: dict[str, tuple[int, int]] = {}
        photographs = _measured(tqdm(read(names), f"store {split}", len(names), unit="image"), sizes)
        layout.write_photographs(layout.archive_path(folder, split), photographs)
        layout.write_instances(folder, split, _instances([(name, *sizes[name]) for name in names], first_id))
        first_id += len(names)
    return {split: (len(names), len(names)) for split, names in splits.items()}


def _measured(
    photographs: Iterable[tuple[str, bytes]], sizes: dict[str, tuple[int, int]]
) -> Iterator[tuple[str, bytes]]:
    """Yield the photographs, and note the size of each."""
    for name, content in photographs:
        sizes[name] = _size(content)
        yield name, content


def _size(content: bytes) -> tuple[int, int]:
    """Return width and height in pixels; 1 x 1 for a file that is not an image: decoding it will tell why."""
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            return max(image.width, 1), max(image.height, 1)
    except MemoryError:
        raise
    except Exception:  # Pillow passes on whatever a damaged file leads its readers to.
        return 1, 1


def _instances(photographs: Iterable[tuple[str, int, int]], first_id: int) -> dict[str, Any]:
    images, annotations = [], []
    for number, (name, width, height) in enumerate(photographs, first_id):
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        if name.startswith(f"{PERSON}/"):
            whole = {"bbox": [0, 0, width, height], "area": width * height, "iscrowd": 0}
            annotations.append({"image_id": number, "category_id": 1, **whole})
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": PERSON}]}


def _is_photograph(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)


def _names_in_folder(source: Path) -> Iterator[str]:
    for label in sorted(path for path in source.iterdir() if path.is_dir()):
        for folder, _, files in os.walk(label, onerror=_stop):
            for path in (Path(folder, name) for name in files):
                name = path.relative_to(source).as_posix()
                if not _is_photograph(name):
                    continue
                if not path.is_file():
                    raise ValueError(f"{path}: a broken link or no file")
                yield name


def _stop(error: OSError) -> None:
    raise error


class _Stream(gzip.GzipFile):
    """The content of a gzip file. A tar header that makes tarfile read too much at once is refused."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _LIMIT:
            raise tarfile.ReadError("a header of impossible size")
        return super().read(size)


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    """Open a tar.gz archive; turn its damage into a ValueError that names it."""
    try:
        with _Stream(path) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            yield archive
    except (EOFError, gzip.BadGzipFile, tarfile.TarError, zlib.error, RecursionError, ValueError) as error:
        raise ValueError(f"{path}: not a usable tar.gz archive ({error})") from None


def _members(archive: tarfile.TarFile) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """Yield normalized path and header of each photograph."""
    while member := archive.next():
        archive.members.clear()  # type: ignore[attr-defined]  # else all headers stay in memory
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{member.name!r}: a path out of the archive's folder")
        if not (member.isreg() or member.isdir()):
            raise ValueError(f"{member.name!r}: a link or device; only files and folders are allowed")
        if not 0 <= member.size <= _LIMIT:
            raise ValueError(f"{member.name!r}: {member.size} bytes; {_LIMIT} are allowed")
        if member.isreg() and _is_photograph(str(path)):
            yield str(path), member
    _check_end(archive)


def _check_end(archive: tarfile.TarFile) -> None:
    """Check that the archive ends here, not at a damaged header, and read on so that gzip checks its sum."""
    stream = archive.fileobj
    assert stream is not None
    stream.seek(archive.offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("a damaged header, or the end is missing")
    while stream.read(_BLOCK):
        pass


def _names_in_archive(path: Path) -> Iterator[str]:
    seen = set()
    with _opened(path) as archive:
        for name, _ in tqdm(_members(archive), f"read {path.name}", unit=" files"):
            if name in seen:
                raise ValueError(f"{name!r}: there twice")
            seen.add(name)
            yield name


def _read_archive(path: Path, wanted: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """Yield new name (a value of `wanted`) and content of the wanted photographs, in the archive's order."""
    with _opened(path) as archive:
        for name, member in _members(archive):
            if name in wanted:
                content = archive.extractfile(member)
                assert content is not None
                yield wanted[name], content.read()
