"""Read COCO instances files: the photographs, and how much of each its largest person covers, by mask and by box."""

import math
from array import array
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from earlyexit.raw import coco_json
from earlyexit.raw.coco_json import Category, Image

Measure = Literal["area", "box"]
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
        persons: how many annotations of persons it has.
        area_share: the largest `area` of a person, as a share of the image; NaN where a person has none.
        box_share: the share of the image that the largest person box covers; NaN where a box cannot be used.
    """

    id: int
    file_name: str
    width: int
    height: int
    persons: int
    area_share: float
    box_share: float


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


def read_instances(path: Path, measure: Measure, *, crowds: bool = True) -> Instances:
    """Read an instances file and measure the largest person of every image.

    Args:
        path: the instances file.
        measure: what the label will be decided by. area: the annotations' `area`, in COCO that of the segmentation;
            nothing else of an annotation can make its image unfit. box: the part of the box inside the image; an image
            is skipped, because its label could not be trusted, if it has an annotation of an unknown category, or a
            person box that is not finite, has a negative side, or leaves the image by more than `BOX_TOLERANCE` pixels.
        crowds: count annotations of crowds as persons. Else crowds are ignored.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not JSON, keys are missing or of the wrong type, there are no images, an id or a file
            name is used twice, not exactly one category is named "person", or, measured by area, an annotation of a
            person has no `area`.
    """
    content = _parse(path)
    images = sorted(content.images, key=lambda image: image["id"])
    if not images:
        raise ValueError(f"{path}: images is empty; at least one image is needed")
    _check_unique(path, "images[].id", (image["id"] for image in images))
    _check_unique(path, "images[].file_name", (image["file_name"] for image in images))
    ids = np.array([image["id"] for image in images], dtype=np.int64)
    rows = np.searchsorted(ids, content.owners).clip(max=len(ids) - 1)
    listed = ids[rows] == content.owners
    chosen = listed & (content.kinds == _person(path, content.categories)) & (crowds | ~content.crowds)
    if measure == "area":
        _check_areas(path, content, chosen)
    sizes = np.array([(image["width"], image["height"]) for image in images], dtype=np.float64)
    inside, usable = _clipped_areas(content.boxes[chosen], sizes[rows[chosen]])
    persons = np.bincount(rows[chosen], minlength=len(images))
    areas, boxes = (
        _largest(rows[chosen], values, sizes.prod(axis=1))
        for values in (content.areas[chosen], np.where(usable, inside, np.nan))
    )
    problems = _problems(sizes, content, rows, listed, np.flatnonzero(chosen)[~usable]) if measure == "box" else {}
    photographs, skips = [], []
    for row, image in enumerate(images):
        if row in problems:
            skips.append(Skip(image["id"], image["file_name"], *problems[row]))
            continue
        listed_as = image["id"], image["file_name"], image["width"], image["height"]
        photographs.append(Photograph(*listed_as, int(persons[row]), float(areas[row]), float(boxes[row])))
    return Instances(photographs, skips, int((~listed).sum()))


def listed(path: Path) -> dict[int, Image]:
    """Return the images that an instances file lists, by id: file name, width and height.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not JSON, or keys are missing or of the wrong type.
    """
    return {image["id"]: image for image in _parse(path).images}


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
    """The needed parts of an instances file; each annotation has an owner (image id), kind (category id), box and area.

    The area is NaN where the annotation has none.
    """

    images: list[Image]
    categories: list[Category]
    owners: NDArray[np.int64]
    kinds: NDArray[np.int64]
    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]
    crowds: NDArray[np.bool_]


def _parse(path: Path) -> _Content:
    """Read an instances file as a stream, to save memory: COCO's hold 400 MB of JSON."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    owners, kinds, boxes, areas, crowds = array("q"), array("q"), array("d"), array("d"), array("b")
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
                areas.append(item.get("area", math.nan))
                crowds.append(item.get("iscrowd", 0))
    return _Content(
        lists["images"],
        lists["categories"],
        np.frombuffer(owners, np.int64),
        np.frombuffer(kinds, np.int64),
        np.frombuffer(boxes, np.float64).reshape(-1, 4),
        np.frombuffer(areas, np.float64),
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


def _check_areas(path: Path, content: _Content, chosen: NDArray[np.bool_]) -> None:
    missing = np.flatnonzero(chosen & np.isnan(content.areas))
    if len(missing):
        raise ValueError(
            f"{path}: annotations[{missing[0]}], of image {content.owners[missing[0]]}, is a person without `area` "
            f"({len(missing)} are), by which data.label_rule: vww decides; vww_box needs none"
        )


def _largest(rows: NDArray[np.int64], values: NDArray[np.float64], pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the largest value of each image as a share of its pixels: 0 without a value, NaN if one is NaN.

    Args:
        rows: of each value's image.
        values: in square pixels.
        pixels: of each image.
    """
    shares = np.zeros(len(pixels))
    with np.errstate(invalid="ignore"):
        np.maximum.at(shares, rows, values / pixels[rows])
    return shares


def _problems(
    sizes: NDArray[np.float64],
    content: _Content,
    rows: NDArray[np.int64],
    listed: NDArray[np.bool_],
    unusable: NDArray[np.int64],
) -> dict[int, tuple[str, str]]:
    """Return what makes a label by boxes untrustworthy, by the row of the image: a fixed phrase, and what was found.

    Args:
        sizes: width and height of each image.
        content: of the file.
        rows, listed: of each annotation's image, and whether it is listed.
        unusable: the annotations of persons whose boxes cannot be used.
    """
    problems: dict[int, tuple[str, str]] = {}
    known = np.isin(content.kinds, [category["id"] for category in content.categories])
    for index in np.flatnonzero(listed & ~known):
        problems.setdefault(int(rows[index]), ("unknown category", f"category_id {content.kinds[index]} is not listed"))
    for index in unusable:
        width, height = sizes[rows[index]]
        detail = f"person box {content.boxes[index].tolist()} does not fit the {width:.0f} x {height:.0f} image"
        problems.setdefault(int(rows[index]), ("bad box", detail))
    return problems


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
