"""The raw layout"""

import zipfile
from collections.abc import Iterable
from pathlib import Path

from earlyexit.raw import zips
from earlyexit.raw.zips import Member

SPLITS = ("train", "val")


FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
"""Of photographs, as Pillow names them; others have decoders that start programs (EPS), or are no photographs'."""


_EPOCH = (1980, 1, 1, 0, 0, 0)


def annotations_path(folder: Path, split: str) -> Path:
    """Return the instances file of a split."""
    return folder / "annotations" / f"instances_{split}.json"


def archive_path(folder: Path, split: str) -> Path:
    """Return the zip of a split's photographs in the raw layout."""
    return folder / "images" / f"{split}.zip"


def member_name(split: str, file_name: str) -> str:
    """Return the name of a photograph inside the zip of its split."""
    return f"{split}/{file_name}"


def stored(folder: Path) -> dict[str, dict[str, Member]]:
    """Return, for each split, the photographs in the zips of the raw layout, by file name.

    Without images/train.zip and images/val.zip both splits are given the members of all zips.

    Raises:
        FileNotFoundError: no such zip.
        ValueError: not a whole zip, or two members of the same name.
    """
    paths = {split: archive_path(folder, split) for split in SPLITS}
    others = sorted((folder / "images").glob("*.zip"))
    if not others or any(path in others for path in paths.values()):
        found = {}
        for split, path in paths.items():
            prefix = member_name(split, "")
            listed = zips.members(path)
            found[split] = {name[len(prefix) :]: listed[name] for name in listed if name.startswith(prefix)}
        return found
    together: dict[str, Member] = {}
    for path in others:
        for name, member in zips.members(path).items():
            if name in together:
                raise ValueError(f"{path}: holds {name}, which {together[name].path} holds too")
            together[name] = member
    return dict.fromkeys(SPLITS, together)


def store_photographs(path: Path, split: str, photographs: Iterable[tuple[str, bytes]]) -> None:
    """Write photographs (file name, file content), in the order given, to the zip of a split: same bytes every time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in photographs:
            archive.writestr(zipfile.ZipInfo(member_name(split, name), _EPOCH), content)
