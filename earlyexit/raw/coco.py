"""Read COCO instances files: the photographs, and how much of each its largest person covers."""

from array import array
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earlyexit.raw import coco_json
from earlyexit.raw.coco_json import Category, Image

BOX_TOLERANCE = 2.0
"""Pixels by which a box may leave its image: some tools round corners to whole pixels, or count one past the end."""


@dataclass(frozen=True, slots=True)
class Photograph:
    """A listed photograph.

    Attributes:
        id: the image id.
        file_name: its name in the instances file.
        width: the stored width in pixels.
        height: the stored height in pixels.
        persons: how many person boxes it has.
        person_share: the share of the image that the largest person box covers.
    """

    id: int
    file_name: str
    width: int
    height: int
    persons: int
    person_share: float


@dataclass(frozen=True, slots=True)
class Skip:
    """A listed photograph that cannot be used: `reason` is a fixed phrase, `detail` says what was found."""

    id: int
    file_name: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Instances:
    """An instances file: photographs and skips in order of id, and the number of annotations of unlisted images."""

    photographs: list[Photograph]
    skips: list[Skip]
    stray_annotations: int


def read_instances(path: Path, *, crowds: bool = True) -> Instances:
    """Read an instances file and measure the largest person box of every image.

    Only the part of a box inside the image counts. The scripts that define Visual Wake Words take COCO's segmentation
    area where their paper says box area; boxes are used here. An image is skipped, because its label could not be
    trusted, if it has an annotation of an unknown category, or a person box that is not finite, has a negative side, or
    leaves the image by more than `BOX_TOLERANCE` pixels.

    Args:
        path: the instances file.
        crowds: count annotations of crowds as persons, as those scripts do, which ignore `iscrowd`. Else crowds are
            ignored.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not JSON, keys are missing or of the wrong type, there are no images, an id or a file
            name is used twice, or not exactly one category is named "person".
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
        FileNotFoundError: there is no such file.
        ValueError: as in `read_instances`.
    """
    content = _parse(path)
    person = _person(path, content.categories)
    names = {image["id"]: image["file_name"] for image in content.images}
    found: dict[int, tuple[str, list[list[float]]]] = {i: (names[i], []) for i in ids if i in names}
    for owner, category, box in zip(content.owners, content.kinds, content.boxes.tolist(), strict=True):
        if owner in found and category == person:
            found[int(owner)][1].append(box)
    return found


@dataclass(frozen=True)
class _Content:
    """The needed parts of an instances file; each annotation has an owner (image id), kind (category id) and box."""

    images: list[Image]
    categories: list[Category]
    owners: NDArray[np.int64]
    kinds: NDArray[np.int64]
    boxes: NDArray[np.float64]
    crowds: NDArray[np.bool_]


def _parse(path: Path) -> _Content:
    """Read an instances file as a stream, to save memory: COCO's hold 400 MB of JSON."""
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
    """Return the persons and largest person share of each image, the problems by row, and the number of strays."""
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
