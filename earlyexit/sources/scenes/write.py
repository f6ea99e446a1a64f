"""Write scenes as a data set in COCO layout: annotations as JSON, photographs as one archive a split."""

import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from earlyexit.common import pool
from earlyexit.common.files import replacing_folder, write_json
from earlyexit.sources.scenes.compose import Box, draw
from earlyexit.sources.scenes.things import THINGS

CATEGORIES = ("person", *sorted({thing.category for thing in THINGS}))
"""Category names; the id is the position, from 1."""
FIRST_ID = {"train": 1, "val": 1_000_001}
"""First image id of each split: ids are unique over both."""

_CHUNK = 32
_TIME = (2020, 1, 1, 0, 0, 0)

Photograph = tuple[bytes, int, int, list[tuple[str, Box]]]
"""JPEG file, width, height, boxes."""


def write(folder: Path, *, train: int, val: int, seed: int, workers: int) -> None:
    """Draw `train` + `val` scenes into `folder`, which appears whole or not at all and replaces what was there.

    Layout: annotations/instances_{train,val}.json as in COCO (an annotation's `area` is that of its box), and
    images/{train,val}.zip, stored, with members such as train/000000000001.jpg; `file_name` is the last part.
    Half of the scenes (the odd image ids) show a person. The bytes depend on the numbers and the seed alone, not on
    `workers`, the number of processes.

    Raises:
        ValueError: for a number of images or workers below 1, more than 1,000,000 images, or a negative seed.
    """
    for name, value in (("train", train), ("val", val), ("workers", workers)):
        if not 1 <= value <= 1_000_000:
            raise ValueError(f"{name}: {value}, should be 1 to 1,000,000")
    if seed < 0:
        raise ValueError(f"seed: {seed}, should be 0 or more")
    with replacing_folder(folder) as part:
        for split, count in (("train", train), ("val", val)):
            _write_split(part, split, count, seed, workers)


def _write_split(folder: Path, split: str, count: int, seed: int, workers: int) -> None:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    archive = folder / "images" / f"{split}.zip"
    archive.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as members:
        photographs = _photographs(seed, split, count, workers)
        for image_id, (jpeg, width, height, boxes) in enumerate(
            tqdm(photographs, f"drawing {split}", count, unit="image"), FIRST_ID[split]
        ):
            name = f"{image_id:012}.jpg"
            members.writestr(zipfile.ZipInfo(f"{split}/{name}", _TIME), jpeg)
            images.append({"id": image_id, "file_name": name, "width": width, "height": height})
            for category, box in boxes:
                annotations.append(_annotation(len(annotations) + 1, image_id, category, box))
    content = {
        "info": {"description": "scenes drawn by earlyexit.scenes", "version": "1", "seed": seed},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in enumerate(CATEGORIES, 1)],
    }
    write_json(folder / "annotations" / f"instances_{split}.json", content)


def _annotation(number: int, image_id: int, category: str, box: Box) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image_id,
        "category_id": CATEGORIES.index(category) + 1,
        "bbox": list(box),
        "area": box[2] * box[3],
        "iscrowd": 0,
    }


def _photographs(seed: int, split: str, count: int, workers: int) -> Iterator[Photograph]:
    take = partial(_photograph, seed, split)
    if workers == 1:
        yield from map(take, range(count))
        return
    with pool.workers(workers, _one_thread) as processes:
        yield from processes.map(take, range(count), chunksize=_CHUNK)


def _photograph(seed: int, split: str, index: int) -> Photograph:
    scene = draw(seed, split, index)
    height, width = scene.image.shape[:2]
    blue_first = np.ascontiguousarray(scene.image[:, :, ::-1])
    done, jpeg = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, scene.quality])
    if not done:
        raise RuntimeError(f"scene {index} of {split}: not encoded")
    return jpeg.tobytes(), width, height, scene.boxes


def _one_thread() -> None:
    cv2.setNumThreads(1)
