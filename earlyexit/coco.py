"""COCO instances files and the photographs beside them.

The raw layout that every source of photographs ends up in:

    annotations/instances_train.json    annotations/instances_val.json
    images/train.zip                    images/val.zip      stored, members <split>/<file_name>

or, with neither of these two zips, others in images/, whose members are named as the file_names are.
"""

import shutil
import zipfile
from array import array
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from earlyexit import archives, coco_json
from earlyexit.archives import Member
from earlyexit.coco_json import Category, Image

SPLITS = ("train", "val")

LAYOUT = "annotations/instances_train.json, annotations/instances_val.json, images/train/ and images/val/"

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
"""Of photographs, as Pillow names them; others have decoders that start programs (EPS), or are no photographs'."""

# COCO rounds box corners to hundredths, other tools to whole pixels or to one past the end.
BOX_TOLERANCE = 2.0

_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Photograph:
    """A listed photograph: stored size in pixels, persons, and the share of it that the largest person box covers."""

    id: int
    file_name: str
    width: int
    height: int
    persons: int
    person_share: float


@dataclass(frozen=True, slots=True)
class Skip:
    """A listed photograph that cannot be used: `reason` is a fixed phrase, `detail` what was found."""

    id: int
    file_name: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Instances:
    """An instances file: photographs and skips in order of id, and annotations that belong to no listed image."""

    photographs: list[Photograph]
    skips: list[Skip]
    stray_annotations: int


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
            listed = archives.members(path)
            found[split] = {name[len(prefix) :]: listed[name] for name in listed if name.startswith(prefix)}
        return found
    together: dict[str, Member] = {}
    for path in others:
        for name, member in archives.members(path).items():
            if name in together:
                raise ValueError(f"{path}: holds {name}, which {together[name].path} holds too")
            together[name] = member
    return dict.fromkeys(SPLITS, together)


def read_instances(path: Path, *, crowds: bool = True) -> Instances:
    """Read an instances file and measure the largest person box of every image.

    A box counts with its area inside the image. With `crowds` annotations of crowds count as a person does, as in the
    scripts that define Visual Wake Words, which do not look at `iscrowd`; without, they are passed over. (The scripts
    take COCO's segmentation area where their paper says box area; boxes are used here.)
    An image with an annotation of an unknown category, or with a person box that is not finite, has a negative side
    or leaves the image by more than `BOX_TOLERANCE` pixels, is skipped: its label could not be trusted.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not JSON, keys missing or of the wrong type, no images, an id or a file name used twice, not
            exactly one category named "person".
    """
    content = _parse(path)
    images = sorted(content.images, key=lambda image: image["id"])
    if not images:
        raise ValueError(f"{path}: images is empty; at least one image is needed")
    _check_unique(path, "images[].id", (image["id"] for image in images))
    _check_unique(path, "images[].file_name", (image["file_name"] for image in images))
    persons, shares, problems, stray = _measure(images, content, _person(path, content.categories), crowds)
    photographs, skips = [], []
    for row, image in enumerate(images):
        if row in problems:
            skips.append(Skip(image["id"], image["file_name"], *problems[row]))
            continue
        size = image["width"], image["height"]
        photographs.append(Photograph(image["id"], image["file_name"], *size, int(persons[row]), float(shares[row])))
    return Instances(photographs, skips, stray)


def person_boxes(path: Path, ids: Collection[int]) -> dict[int, tuple[str, list[list[float]]]]:
    """Return file name and person boxes (x, y, width, height in pixels) of photographs in an instances file.

    Raises:
        FileNotFoundError, ValueError: as `read_instances`.
    """
    content = _parse(path)
    person = _person(path, content.categories)
    names = {image["id"]: image["file_name"] for image in content.images}
    found: dict[int, tuple[str, list[list[float]]]] = {i: (names[i], []) for i in ids if i in names}
    for owner, category, box in zip(content.owners, content.kinds, content.boxes.tolist(), strict=True):
        if owner in found and category == person:
            found[int(owner)][1].append(box)
    return found


def store_folder(source: Path, folder: Path) -> dict[str, tuple[int, int]]:
    """Bring a folder in COCO layout (`LAYOUT`) into the raw layout, every file byte for byte.

    Only listed photographs are stored. Some may be missing: what to do about these is for the reader of `folder` to
    decide.

    Args:
        source: the folder in COCO layout.
        folder: an existing, empty folder to fill.

    Returns:
        for each split, the photographs stored and the photographs listed.

    Raises:
        FileNotFoundError: the folder, a part of its layout or all photographs of a split are missing.
        ValueError: as `read_instances`.
    """
    _check_layout(source)
    (folder / "annotations").mkdir()
    counts = {}
    for split in SPLITS:
        instances = read_instances(annotations_path(source, split))
        names = [photograph.file_name for photograph in instances.photographs]
        names += [skip.file_name for skip in instances.skips]
        images = source / "images" / split
        present = [name for name in names if (images / name).is_file()]
        if not present:
            raise FileNotFoundError(f"{images}: none of its {len(names)} listed photographs is there, e.g. {names[0]}")
        shutil.copyfile(annotations_path(source, split), annotations_path(folder, split))
        photographs = ((name, (images / name).read_bytes()) for name in sorted(present))
        store_photographs(archive_path(folder, split), split, tqdm(photographs, f"store {split}", len(present)))
        counts[split] = len(present), len(names)
    return counts


def store_photographs(path: Path, split: str, photographs: Iterable[tuple[str, bytes]]) -> None:
    """Write photographs (file name, file content), in the order given, to the zip of a split: same bytes every time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in photographs:
            archive.writestr(zipfile.ZipInfo(member_name(split, name), _EPOCH), content)


@dataclass(frozen=True)
class _Content:
    """What is needed of an instances file; of the annotations: image and category ids, boxes, whether a crowd's."""

    images: list[Image]
    categories: list[Category]
    owners: NDArray[np.int64]
    kinds: NDArray[np.int64]
    boxes: NDArray[np.float64]
    crowds: NDArray[np.bool_]


def _parse(path: Path) -> _Content:
    """Read an instances file with little more memory than the result takes: COCO's hold 400 MB of JSON."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    owners, kinds, boxes, crowds = array("q"), array("q"), array("d"), array("b")
    lists: dict[str, list[Any]] = {}
    with path.open(encoding="utf-8-sig") as file:
        for key, items in coco_json.parts(str(path), file):
            if key != "annotations":
                lists[key] = list(items)
                continue
            for item in items:
                owners.append(item["image_id"])
                kinds.append(item["category_id"])
                boxes.extend(item["bbox"])
                crowds.append(item.get("iscrowd", 0))
    return _Content(
        lists["images"],
        lists["categories"],
        np.frombuffer(owners, np.int64),
        np.frombuffer(kinds, np.int64),
        np.frombuffer(boxes, np.float64).reshape(-1, 4),
        np.frombuffer(crowds, np.bool_),
    )


def _check_unique(path: Path, what: str, values: Iterable[int | str]) -> None:
    seen: set[int | str] = set()
    twice: list[int | str] = []
    for value in values:
        (twice.append if value in seen else seen.add)(value)
    if twice:
        raise ValueError(f"{path}: {what} must differ, but {len(twice)} repeat, e.g. {_some(twice)}")


def _some(values: list[Any], limit: int = 5) -> str:
    return ", ".join(str(value) for value in values[:limit]) + (", ..." if len(values) > limit else "")


def _person(path: Path, categories: list[Category]) -> int:
    _check_unique(path, "categories[].id", (category["id"] for category in categories))
    persons = [category["id"] for category in categories if category["name"] == "person"]
    if len(persons) != 1:
        names = _some([category["name"] for category in categories])
        raise ValueError(f'{path}: exactly one category must be named "person", {len(persons)} are (names: {names})')
    return persons[0]


def _measure(
    images: list[Image], content: _Content, person: int, crowds: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64], dict[int, tuple[str, str]], int]:
    """Return persons and the largest person share of each image, the images' problems by row, and the strays."""
    ids = np.array([image["id"] for image in images], dtype=np.int64)
    rows = np.searchsorted(ids, content.owners).clip(max=len(ids) - 1)
    listed = ids[rows] == content.owners

    problems: dict[int, tuple[str, str]] = {}
    known = np.isin(content.kinds, [category["id"] for category in content.categories])
    for index in np.flatnonzero(listed & ~known):
        problems.setdefault(int(rows[index]), ("unknown category", f"category_id {content.kinds[index]} is not listed"))

    chosen = listed & (content.kinds == person)
    if not crowds:
        chosen &= ~content.crowds
    rows, boxes = rows[chosen], content.boxes[chosen]
    sizes = np.array([(image["width"], image["height"]) for image in images], dtype=np.float64)[rows]
    areas, usable = _clipped_areas(boxes, sizes)
    for index in np.flatnonzero(~usable):
        box, (width, height) = boxes[index].tolist(), sizes[index]
        detail = f"person box {box} does not fit the {width:.0f} x {height:.0f} image"
        problems.setdefault(int(rows[index]), ("bad box", detail))
    shares = np.zeros(len(images))
    np.maximum.at(shares, rows[usable], (areas / sizes.prod(axis=1))[usable])
    return np.bincount(rows, minlength=len(images)), shares, problems, int((~listed).sum())


def _clipped_areas(
    boxes: NDArray[np.float64], sizes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the area of each box (x, y, width, height) inside its image, and whether the box can be used."""
    left, top, wide, high = boxes.T
    width, height = sizes.T
    with np.errstate(invalid="ignore"):
        right, bottom = left + wide, top + high
        # A comparison with NaN is false, and an infinite box leaves every image: neither passes.
        usable = (wide >= 0) & (high >= 0) & (np.minimum(left, top) >= -BOX_TOLERANCE)
        usable &= np.maximum(right - width, bottom - height) <= BOX_TOLERANCE
        across = (np.minimum(right, width) - np.maximum(left, 0)).clip(min=0)
        down = (np.minimum(bottom, height) - np.maximum(top, 0)).clip(min=0)
        return across * down, usable


def _check_layout(source: Path) -> None:
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: no such folder")
    missing = [str(path.relative_to(source)) for path in _layout(source) if not path.exists()]
    if missing:
        raise FileNotFoundError(f"{source}: lacks {', '.join(missing)}; a folder in COCO layout holds {LAYOUT}")


def _layout(source: Path) -> Iterator[Path]:
    for split in SPLITS:
        yield annotations_path(source, split)
        yield source / "images" / split
