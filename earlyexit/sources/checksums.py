"""Read checksum files as md5sum and sha256sum write them."""

import re
from pathlib import Path

_ALGORITHMS = {32: "md5", 64: "sha256"}
_LARGEST = 2**20
_LINE = re.compile(r"([0-9A-Fa-f]+)(?: [ *]|\t)(.+)")


def read_checksums(path: Path) -> dict[str, str]:
    """Return the digests in a checksum file by file name, as `md5:<hex>` or `sha256:<hex>`, in the order of the file.

    A line holds a digest, two blanks (or a blank and `*`), and a name. The folders in a name are dropped, as downloads
    have none. Blank lines and lines that start with `#` are skipped.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: a line is malformed, or two lines disagree on a name (names file and line); or the file is too
            large, is not UTF-8, or holds no checksum.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such checksum file, one as md5sum or sha256sum writes it is expected")
    if not path.is_file() or path.stat().st_size > _LARGEST:
        raise ValueError(f"{path}: not a checksum file, one of at most {_LARGEST:,} bytes is expected")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a checksum file, UTF-8 text is expected ({error})") from error
    digests: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, digest = _parse(line.rstrip("\r"), f"{path}, line {number}")
        if digests.setdefault(name, digest) != digest:
            raise ValueError(f"{path}, line {number}: a second, different checksum of {name}")
    if not digests:
        raise ValueError(f"{path}: no checksum in it")
    return digests


def _parse(line: str, place: str) -> tuple[str, str]:
    found = _LINE.fullmatch(line)
    algorithm = _ALGORITHMS.get(len(found[1])) if found else None
    if found is None or algorithm is None:
        raise ValueError(f"{place}: {line[:80]!r}, '<md5 or sha256 in hex>  <name>' expected")
    name = re.split(r"[/\\]", found[2])[-1]
    if name in {"", ".", ".."} or not name.isprintable():
        raise ValueError(f"{place}: {found[2][:80]!r} is not a file name")
    return name, f"{algorithm}:{found[1].lower()}"
