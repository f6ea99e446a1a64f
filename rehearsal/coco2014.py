"""A data set in COCO 2014's layout and names, for runs of the whole workflow from a local server.

    python -m rehearsal.coco2014 FOLDER --members 20000 [--photographs /path/to/coco] [--pictures 300]

FOLDER is given the files that the official host serves (zips/train2014.zip, zips/val2014.zip and
annotations/annotations_trainval2014.zip), mscoco_minival_ids.txt, and md5sums.txt as md5sum writes it. The photographs
are those of a folder in COCO layout, if one is given, and the project's own drawn scenes. train2014, val2014 and
minival have COCO's shares of them, and COCO's numbers for 123287 members. The same arguments give the same bytes.
"""

import argparse
import hashlib
import io
import json
import math
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from earlyexit.common.files import read_json, replacing_folder
from earlyexit.raw import layout
from earlyexit.sources import coco2014, scenes

SUMS = "md5sums.txt"
LEAST = 30
"""The smallest number of members, with which minival gets two."""

_TIME = (2014, 9, 1, 0, 0, 0)
_SIZE = (640, 480)
"""Width and height of a picture that many members share: those of most of COCO's photographs."""
_NOISE, _QUALITY = 4.0, 85
"""Standard deviation of the noise in such a picture, and its JPEG quality: about 50 kB."""
_ANNOTATIONS = 7
"""Annotations of such a picture: COCO's mean."""
_UNLABELLED = 0.1
"""Share of such members whose persons are not annotated, so that no network can learn every label."""
_CORNERS = 22
"""Corners of an outline: about COCO's mean."""


@dataclass(frozen=True)
class _Object:
    """An annotation: category; x, y, width and height in pixels; area in square pixels; iscrowd; outline."""

    name: str
    box: list[float]
    area: float
    crowd: int
    outline: list[float]


@dataclass(frozen=True)
class _Photograph:
    read: Callable[[], bytes]
    width: int
    height: int
    objects: list[_Object]


def build(
    folder: Path, *, members: int, photographs: Path | None, seed: int, workers: int, pictures: int | None = None
) -> None:
    """Write the data set into `folder`, whole or not at all; what was there is replaced.

    Args:
        folder: to write.
        members: number of photographs in both archives together.
        photographs: folder in COCO layout whose photographs are used first; scenes fill up the rest. None: scenes only.
        seed: of the scenes, and of the random split.
        workers: number of processes that draw scenes.
        pictures: number of scenes to draw, 2 or more. They are enlarged to 640 x 480 pixels, and used for all members
            that `photographs` leaves; no two members have the same bytes. None: a scene for each member.

    Raises:
        ValueError: `members` is less than `LEAST`, or `pictures` less than 2.
        FileNotFoundError: `photographs` is not in COCO layout.
    """
    if members < LEAST:
        raise ValueError(f"members: {members}, should be {LEAST} or more")
    if pictures is not None and pictures < 2:
        raise ValueError(f"pictures: {pictures}, should be 2 or more")
    taken = list(_from_folder(photographs))[: members - 2] if photographs else []
    with tempfile.TemporaryDirectory() as scratch, replacing_folder(folder) as part, ExitStack() as stack:
        drawn, missing = Path(scratch) / "scenes", members - len(taken)
        count = missing if pictures is None else min(pictures, missing)
        val = max(1, count // 3)
        scenes.write(drawn, train=count - val, val=val, seed=seed, workers=workers)
        found = []
        for split in layout.SOURCE_SPLITS:
            archive = stack.enter_context(zipfile.ZipFile(layout.archive_path(drawn, split)))
            for name, width, height, objects in _listed(drawn, split):
                read = partial(archive.read, layout.member_name(split, name))
                found.append(_Photograph(read, width, height, objects))
        generator = np.random.default_rng(seed)
        taken += found if pictures is None else _repeated(found, missing, generator)
        _write(part, taken, generator)


def _from_folder(folder: Path) -> Iterator[_Photograph]:
    for split in layout.SOURCE_SPLITS:
        for name, width, height, objects in _listed(folder, split):
            path = folder / "images" / split / name
            if path.is_file():
                yield _Photograph(path.read_bytes, width, height, objects)


def _listed(folder: Path, split: str) -> Iterator[tuple[str, int, int, list[_Object]]]:
    """Yield file name, width, height and objects of each photograph in an instances file."""
    content = read_json(layout.annotations_path(folder, split))
    names = {category["id"]: category["name"] for category in content["categories"]}
    objects: dict[int, list[_Object]] = {image["id"]: [] for image in content["images"]}
    for item in content["annotations"]:
        box = item["bbox"]
        area, crowd = item.get("area", box[2] * box[3]), item.get("iscrowd", 0)
        objects[item["image_id"]].append(_Object(names[item["category_id"]], box, area, crowd, _ellipse(box)))
    for image in content["images"]:
        yield image["file_name"], image["width"], image["height"], objects[image["id"]]


def _ellipse(box: Sequence[float]) -> list[float]:
    """Return x and y of each corner of an outline that fills a box."""
    x, y, width, height = box
    angles = [2 * math.pi * corner / _CORNERS for corner in range(_CORNERS)]
    corners = [(x + width * (1 + math.cos(a)) / 2, y + height * (1 + math.sin(a)) / 2) for a in angles]
    return [round(value, 2) for corner in corners for value in corner]


def _repeated(scenes: list[_Photograph], count: int, generator: np.random.Generator) -> Iterator[_Photograph]:
    """Yield `count` photographs of COCO's size from fewer scenes."""
    pictures = [_enlarged(scene, generator) for scene in tqdm(scenes, "enlarge scenes", unit="image")]
    for number, (content, objects) in enumerate(islice(cycle(pictures), count)):
        unlabelled = generator.random() < _UNLABELLED
        kept = [item for item in objects if item.name != "person"] if unlabelled else objects
        # What follows a JPEG's end marker is not looked at, and makes every file another one.
        yield _Photograph(partial(bytes.__add__, content, number.to_bytes(4)), *_SIZE, kept)


def _enlarged(scene: _Photograph, generator: np.random.Generator) -> tuple[bytes, list[_Object]]:
    """Return a scene in the size of COCO's photographs, with their noise and their number of annotations."""
    with Image.open(io.BytesIO(scene.read()), formats=["JPEG"]) as image:
        pixels = np.asarray(image.convert("RGB").resize(_SIZE, Image.Resampling.BICUBIC))
    noisy = pixels + generator.normal(0, _NOISE, (*pixels.shape[:2], 1))
    buffer = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=_QUALITY)
    x, y = _SIZE[0] / scene.width, _SIZE[1] / scene.height
    objects = []
    for item in scene.objects:
        box = [round(value * scale, 2) for value, scale in zip(item.box, (x, y, x, y), strict=True)]
        objects.append(_Object(item.name, box, round(item.area * x * y, 2), item.crowd, _ellipse(box)))
    things = cycle([item for item in objects if item.name != "person"])
    return buffer.getvalue(), [*objects, *islice(things, max(0, _ANNOTATIONS - len(objects)))]


def _write(folder: Path, photographs: list[_Photograph], generator: np.random.Generator) -> None:
    """Write everything. A photograph's id is its place, from 1, in a random order; its archive is drawn at random."""
    order = generator.permutation(len(photographs))
    in_val = _share(len(photographs), coco2014.IMAGES["val2014"], sum(coco2014.IMAGES.values()))
    val = np.sort(generator.choice(len(photographs), in_val, replace=False)) + 1
    names = {item.name for photograph in photographs for item in photograph.objects} - {"person"}
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
    minival = sorted(generator.choice(val, _share(len(val), coco2014.MINIVAL_IDS, coco2014.IMAGES["val2014"]), False))
    (folder / coco2014.MINIVAL).write_text("".join(f"{number}\n" for number in minival))
    sums = [f"{_md5(path)}  {path.name}\n" for path in sorted(folder.rglob("*")) if path.is_file()]
    (folder / SUMS).write_text("".join(sums))


def _share(count: int, part: int, whole: int) -> int:
    return round(count * part / whole)


def _file_name(part: str, number: int) -> str:
    return f"COCO_{part}_{number:012}.jpg"


def _instances(part: str, photographs: dict[int, _Photograph], categories: dict[str, int]) -> dict[str, Any]:
    """Return the instances of one archive, with all entries that COCO's have."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, photograph in photographs.items():
        size = {"height": photograph.height, "width": photograph.width}
        images.append({"license": 1, "file_name": _file_name(part, number), **size, "id": number})
        for item in photograph.objects:
            annotations.append(
                {
                    "segmentation": [item.outline],
                    "area": item.area,
                    "iscrowd": item.crowd,
                    "image_id": number,
                    "bbox": item.box,
                    "category_id": categories[item.name],
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
    parser.add_argument("--pictures", type=int, help="draw so many, and use each for many members (default: no limit)")
    parser.add_argument("--seed", type=int, default=2014, help="(default: %(default)s)")
    args = parser.parse_args()
    workers = len(os.sched_getaffinity(0))
    build(
        args.folder,
        members=args.members,
        photographs=args.photographs,
        seed=args.seed,
        workers=workers,
        pictures=args.pictures,
    )


if __name__ == "__main__":
    main()
