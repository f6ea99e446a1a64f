"""The raw layout, which every source of photographs is brought into:

    annotations/instances_train.json    annotations/instances_val.json
    images/train.zip                    images/val.zip      stored, members <split>/<file_name>

or, with neither of these two zips, others in images/, whose members are named as the file_names are.
"""  # fmt: skip

import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from earlyexit.common.files import write_text
from earlyexit.raw import zips
from earlyexit.raw.zips import Member

SOURCE_SPLITS = ("train", "val")
"""The splits of a source. Packing takes the calibration split out of train."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
"""The formats that are decoded, as Pillow names them; no others, since some decoders start programs (EPS)."""

_TIME = (2020, 1, 1, 0, 0, 0)


def annotations_path(folder: Path, split: str) -> Path:
    """Return the path of a split's instances file."""
    return folder / "annotations" / f"instances_{split}.json"


def archive_path(folder: Path, split: str) -> Path:
    """Return the path of the zip of a split's photographs."""
    return folder / "images" / f"{split}.zip"


def member_name(split: str, file_name: str) -> str:
    """Return the name of a photograph inside the zip of its split."""
    return f"{split}/{file_name}"


def write_photographs(path: Path, photographs: Iterable[tuple[str, bytes]]) -> None:
    """Write a zip of photographs (file name, file content), stored, in the order given: the same bytes every time.

    Members are named <name of the zip without its suffix>/<file name>.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in photographs:
            archive.writestr(zipfile.ZipInfo(member_name(path.stem, name), _TIME), content)


def write_instances(folder: Path, split: str, content: Mapping[str, Any], indent: int | None = None) -> None:
    """Write the instances file of a split."""
    write_text(annotations_path(folder, split), json.dumps(content, indent=indent) + "\n")


def stored(folder: Path) -> dict[str, dict[str, Member]]:
    """Return, for each split, the photographs in the zips of the raw layout, by file name.

    Without images/train.zip and images/val.zip both splits get the members of all zips.

    Raises:
        FileNotFoundError: there is no such zip.
        ValueError: a file is not a whole zip, or two members have the same name.
    """
    paths = {split: archive_path(folder, split) for split in SOURCE_SPLITS}
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
    return dict.fromkeys(SOURCE_SPLITS, together)
