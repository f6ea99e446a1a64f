"""A data set in COCO 2014's layout and names, for runs of the whole workflow from a local server.

    python -m rehearsal.coco2014 FOLDER --members 20000 [--photographs /path/to/coco]

FOLDER is given the files that the official host serves (zips/train2014.zip, zips/val2014.zip and
annotations/annotations_trainval2014.zip), mscoco_minival_ids.txt, and md5sums.txt as md5sum writes it. The photographs
are those of a folder in COCO layout, if one is given, and the project's own drawn scenes. Two thirds of them go to
train2014; a fifth of val2014 is minival. The same arguments give the same bytes.
"""

import argparse
import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from earlyexit.common.files import read_json, replacing_folder
from earlyexit.raw import layout
from earlyexit.sources import coco2014, scenes

SUMS = "md5sums.txt"
LEAST = 30
"""The smallest number of members, with which minival gets two."""

_TIME = (2014, 9, 1, 0, 0, 0)
_Box = tuple[str, list[float], int]
"""Category; x, y, width and height in pixels; iscrowd."""


@dataclass(frozen=True)
class _Photograph:
    read: Callable[[], bytes]
    width: int
    height: int
    boxes: list[_Box]


def build(folder: Path, *, members: int, photographs: Path | None, seed: int, workers: int) -> None:
    """Write the data set into `folder`, whole or not at all; what was there is replaced.

    Args:
        folder: to write.
        members: number of photographs in both archives together.
        photographs: folder in COCO layout whose photographs are used first; scenes fill up the rest. None: scenes only.
        seed: of the scenes, and of the random split.
        workers: number of processes that draw scenes.

    Raises:
        ValueError: `members` is less than `LEAST`.
        FileNotFoundError: `photographs` is not in COCO layout.
    """
    if members < LEAST:
        raise ValueError(f"members: {members}, should be {LEAST} or more")
    taken = list(_from_folder(photographs))[: members - 2] if photographs else []
    with tempfile.TemporaryDirectory() as scratch, replacing_folder(folder) as part, ExitStack() as stack:
        drawn = Path(scratch) / "scenes"
        val = max(1, (members - len(taken)) // 3)
        scenes.write(drawn, train=members - len(taken) - val, val=val, seed=seed, workers=workers)
        for split in layout.SPLITS:
            archive = stack.enter_context(zipfile.ZipFile(layout.archive_path(drawn, split)))
            for name, width, height, boxes in _listed(drawn, split):
                read = partial(archive.read, layout.member_name(split, name))
                taken.append(_Photograph(read, width, height, boxes))
        _write(part, taken, np.random.default_rng(seed))


def _from_folder(folder: Path) -> Iterator[_Photograph]:
    for split in layout.SPLITS:
        for name, width, height, boxes in _listed(folder, split):
            path = folder / "images" / split / name
            if path.is_file():
                yield _Photograph(path.read_bytes, width, height, boxes)


def _listed(folder: Path, split: str) -> Iterator[tuple[str, int, int, list[_Box]]]:
    """Yield file name, width, height and boxes of each photograph in an instances file."""
    content = read_json(layout.annotations_path(folder, split))
    names = {category["id"]: category["name"] for category in content["categories"]}
    boxes: dict[int, list[_Box]] = {image["id"]: [] for image in content["images"]}
    for item in content["annotations"]:
        boxes[item["image_id"]].append((names[item["category_id"]], item["bbox"], item.get("iscrowd", 0)))
    for image in content["images"]:
        yield image["file_name"], image["width"], image["height"], boxes[image["id"]]


def _write(folder: Path, photographs: list[_Photograph], generator: np.random.Generator) -> None:
    """Write everything. A photograph's id is its place, from 1, in a random order; its archive is drawn at random."""
    order = generator.permutation(len(photographs))
    val = np.sort(generator.choice(len(photographs), len(photographs) // 3, replace=False)) + 1
    names = {name for photograph in photographs for name, *_ in photograph.boxes} - {"person"}
    categories = {name: number for number, name in enumerate(["person", *sorted(names)], 1)}
    train = np.setdiff1d(np.arange(1, len(photographs) + 1), val)
    (folder / "zips").mkdir()
    (folder / "annotations").mkdir()
    with zipfile.ZipFile(folder / "annotations" / coco2014.ANNOTATIONS, "w") as annotations:
        for part, ids in (("train2014", train), ("val2014", val)):
            listed = {int(number): photographs[order[number - 1]] for number in ids}
            with zipfile.ZipFile(folder / "zips" / f"{part}.zip", "w") as archive:
                archive.writestr(zipfile.ZipInfo(f"{part}/", _TIME), b"")
                for number, photograph in tqdm(listed.items(), f"write {part}.zip", unit="image"):
                    member = zipfile.ZipInfo(f"{part}/{_file_name(part, number)}", _TIME)
                    archive.writestr(member, photograph.read())
            content = _instances(part, listed, categories)
            for kind, value in (("instances", content), ("captions", content | {"annotations": []})):
                member = zipfile.ZipInfo(f"annotations/{kind}_{part}.json", _TIME)
                annotations.writestr(member, json.dumps(value), zipfile.ZIP_DEFLATED)
    minival = sorted(generator.choice(val, len(val) // 5, replace=False))
    (folder / coco2014.MINIVAL).write_text("".join(f"{number}\n" for number in minival))
    sums = [f"{_md5(path)}  {path.name}\n" for path in sorted(folder.rglob("*")) if path.is_file()]
    (folder / SUMS).write_text("".join(sums))


def _file_name(part: str, number: int) -> str:
    return f"COCO_{part}_{number:012}.jpg"


def _instances(part: str, photographs: dict[int, _Photograph], categories: dict[str, int]) -> dict[str, Any]:
    """Return the instances of one archive, with all entries that COCO's have."""
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
