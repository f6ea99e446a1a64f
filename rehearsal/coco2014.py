"""A data set in COCO 2014's layout and names, to run the whole path from a local server.

FOLDER becomes what the official host serves: zips/train2014.zip, zips/val2014.zip and
annotations/annotations_trainval2014.zip; beside them mscoco_minival_ids.txt, and md5sums.txt as md5sum writes it. The
photographs are those of a folder in COCO layout, if one is given, and the project's own drawn scenes. Two thirds go to
train2014, a fifth of val2014 is minival. The same arguments give the same bytes.

Run from the project root: python -m rehearsal.coco2014 FOLDER --members 20000 [--photographs /path/to/coco]
"""

import argparse
import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from earlyexit.common.files import read_json, replacing_folder
from earlyexit.raw import layout
from earlyexit.sources import coco2014, scenes

SUMS = "md5sums.txt"
LEAST = 30
"""The fewest members: minival gets two."""

_TIME = (2014, 9, 1, 0, 0, 0)
_BLOCK = 2**20


@dataclass(frozen=True)
class _Photograph:
    """Width and height in pixels; boxes by category name, each x, y, width, height and iscrowd."""

    read: Callable[[], bytes]
    width: int
    height: int
    boxes: list[tuple[str, list[float], int]]


def build(folder: Path, *, members: int, photographs: Path | None, seed: int, workers: int) -> None:
    """Write the data set, whole or not at all; `folder` is replaced.

    Args:
        folder: to write.
        members: photographs of both archives together.
        photographs: folder in COCO layout whose photographs are taken before any scene is drawn; None for scenes only.
        seed: of the scenes and of who goes where.
        workers: processes that draw.

    Raises:
        ValueError: `members` is less than `LEAST`.
        FileNotFoundError: `photographs` is not in COCO layout.
    """
    if members < LEAST:
        raise ValueError(f"members: {members}, should be {LEAST} or more")
    taken = list(_from_folder(photographs))[: members - 2] if photographs else []
    with tempfile.TemporaryDirectory() as scratch, replacing_folder(folder) as part:
        drawn = Path(scratch) / "scenes"
        drawn_val = max(1, (members - len(taken)) // 3)
        scenes.write(drawn, train=members - len(taken) - drawn_val, val=drawn_val, seed=seed, workers=workers)
        with (
            zipfile.ZipFile(layout.archive_path(drawn, "train")) as train,
            zipfile.ZipFile(layout.archive_path(drawn, "val")) as val,
        ):
            taken += [*_from_scenes(drawn, "train", train), *_from_scenes(drawn, "val", val)]
            _write(part, taken, np.random.default_rng(seed))


def _from_folder(folder: Path) -> Iterator[_Photograph]:
    for split in layout.SOURCE_SPLITS:
        for file_name, width, height, boxes in _listed(layout.annotations_path(folder, split)):
            path = folder / "images" / split / file_name
            if path.is_file():
                yield _Photograph(path.read_bytes, width, height, boxes)


def _from_scenes(folder: Path, split: str, archive: zipfile.ZipFile) -> Iterator[_Photograph]:
    for file_name, width, height, boxes in _listed(layout.annotations_path(folder, split)):
        read = partial(archive.read, layout.member_name(split, file_name))
        yield _Photograph(read, width, height, boxes)


def _listed(path: Path) -> Iterator[tuple[str, int, int, list[tuple[str, list[float], int]]]]:
    """Yield file name, width, height and boxes of the photographs of an instances file."""
    content = read_json(path)
    names = {category["id"]: category["name"] for category in content["categories"]}
    boxes: dict[int, list[tuple[str, list[float], int]]] = {image["id"]: [] for image in content["images"]}
    for item in content["annotations"]:
        boxes[item["image_id"]].append((names[item["category_id"]], item["bbox"], item.get("iscrowd", 0)))
    for image in content["images"]:
        yield image["file_name"], image["width"], image["height"], boxes[image["id"]]


def _write(folder: Path, photographs: list[_Photograph], generator: np.random.Generator) -> None:
    """Write everything; a photograph's id is its place in a random order, from 1, in part a random two thirds."""
    order = generator.permutation(len(photographs))
    in_val = np.zeros(len(photographs), dtype=bool)
    in_val[generator.choice(len(photographs), len(photographs) // 3, replace=False)] = True
    categories = _categories(photographs)
    (folder / "annotations").mkdir()
    contents = {}
    for part, chosen in (("train2014", ~in_val), ("val2014", in_val)):
        listed = {int(place) + 1: photographs[order[place]] for place in np.flatnonzero(chosen)}
        files = ((_file_name(part, number), photograph.read()) for number, photograph in listed.items())
        path = folder / "zips" / f"{part}.zip"
        layout.write_photographs(path, tqdm(files, f"write {path.name}", len(listed), unit="image"))
        contents[part] = _instances(part, listed, categories)
    _write_annotations(folder / "annotations" / coco2014.ANNOTATIONS, contents)
    (folder / coco2014.MINIVAL).write_text("".join(f"{number}\n" for number in _minival(in_val, generator)))
    sums = [f"{_md5(path)}  {path.name}\n" for path in sorted(folder.rglob("*")) if path.is_file()]
    (folder / SUMS).write_text("".join(sums))


def _categories(photographs: list[_Photograph]) -> dict[str, int]:
    names = {name for photograph in photographs for name, *_ in photograph.boxes} - {"person"}
    return {name: number for number, name in enumerate(["person", *sorted(names)], 1)}


def _minival(in_val: NDArray[np.bool_], generator: np.random.Generator) -> list[int]:
    ids = np.flatnonzero(in_val) + 1
    return sorted(generator.choice(ids, len(ids) // 5, replace=False).tolist())


def _file_name(part: str, number: int) -> str:
    return f"COCO_{part}_{number:012}.jpg"


def _instances(part: str, photographs: dict[int, _Photograph], categories: dict[str, int]) -> dict[str, Any]:
    """Return a part's instances with the entries that COCO has beside the needed ones."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, photograph in photographs.items():
        size = {"height": photograph.height, "width": photograph.width}
        images.append({"license": 1, "file_name": _file_name(part, number), **size, "id": number})
        for name, box, crowd in photograph.boxes:
            x, y, width, height = box
            corners = [x, y, x + width, y, x + width, y + height, x, y + height]
            annotations.append(
                {
                    "segmentation": [corners],
                    "area": width * height,
                    "iscrowd": crowd,
                    "image_id": number,
                    "bbox": box,
                    "category_id": categories[name],
                    "id": len(annotations) + 1,
                }
            )
    return {
        "info": {"description": "in the layout of COCO 2014", "year": 2014},
        "images": images,
        "licenses": [{"id": 1, "name": "as the photographs' sources say"}],
        "annotations": annotations,
        "categories": [
            {"supercategory": name, "id": category_id, "name": name} for name, category_id in categories.items()
        ],
    }


def _write_annotations(path: Path, contents: dict[str, dict[str, Any]]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part, content in contents.items():
            for kind, value in (("instances", content), ("captions", content | {"annotations": []})):
                member = zipfile.ZipInfo(f"annotations/{kind}_{part}.json", _TIME)
                archive.writestr(member, json.dumps(value), zipfile.ZIP_DEFLATED)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def main() -> None:
    """Build the data set that the command line describes."""
    parser = argparse.ArgumentParser(description="Build a data set in COCO 2014's layout and names.")
    parser.add_argument("folder", type=Path, help="to write; replaced if it exists")
    parser.add_argument("--members", type=int, default=20_000, help="photographs (default: %(default)s)")
    parser.add_argument("--photographs", type=Path, help="folder in COCO layout to take photographs from")
    parser.add_argument("--seed", type=int, default=2014, help="(default: %(default)s)")
    args = parser.parse_args()
    workers = len(os.sched_getaffinity(0))
    build(args.folder, members=args.members, photographs=args.photographs, seed=args.seed, workers=workers)


if __name__ == "__main__":
    main()
