"""Write scenes as photographs in the raw layout."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from earlyexit.common import pool
from earlyexit.raw import layout
from earlyexit.sources.scenes.compose import Seen, draw
from earlyexit.sources.scenes.things import THINGS

CATEGORIES = ("person", *sorted({thing.category for thing in THINGS}))
"""Category names; the id is the position, from 1."""
FIRST_ID = {"train": 1, "val": 1_000_001}
"""First image id of each split: ids are unique over both."""

_CHUNK = 32

Photograph = tuple[bytes, int, int, list[Seen]]
"""JPEG file, width, height, what is seen."""


def write(folder: Path, *, train: int, val: int, seed: int, workers: int) -> None:
    """Draw `train` + `val` scenes and write them to `folder` in the raw layout.

    An annotation's `area` is the number of the object's visible pixels, as COCO's is that of its segmentation. Half of
    the scenes (the odd image ids) show a person. The bytes depend on the numbers of scenes and the seed alone, not on
    `workers`.

    Args:
        folder: an empty folder, made where it is missing.
        train: the number of train scenes.
        val: the number of val scenes.
        seed: the seed of the scenes.
        workers: the number of processes that draw.

    Raises:
        ValueError: a number of images or workers is below 1, there are more than 1,000,000 images, or the seed is
            negative.
    """
    for name, value in (("train", train), ("val", val), ("workers", workers)):
        if not 1 <= value <= 1_000_000:
            raise ValueError(f"{name}: {value}, should be 1 to 1,000,000")
    if seed < 0:
        raise ValueError(f"seed: {seed}, should be 0 or more")
    for split, count in (("train", train), ("val", val)):
        content: dict[str, Any] = {
            "info": {"description": "scenes drawn by earlyexit.scenes", "version": "1", "seed": seed},
            "images": [],
            "annotations": [],
            "categories": [{"id": number, "name": name} for number, name in enumerate(CATEGORIES, 1)],
        }
        with pool.mapping(workers, _one_thread, chunksize=_CHUNK) as spread:
            scenes = tqdm(spread(partial(_photograph, seed, split), range(count)), f"draw {split}", count, unit="image")
            layout.write_photographs(layout.archive_path(folder, split), _listed(scenes, FIRST_ID[split], content))
        layout.write_instances(folder, split, content, indent=2)


def _listed(scenes: Iterable[Photograph], first_id: int, content: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Yield file name and content of each photograph, and add its image and annotations to `content`."""
    for image_id, (jpeg, width, height, objects) in enumerate(scenes, first_id):
        name = f"{image_id:012}.jpg"
        content["images"].append({"id": image_id, "file_name": name, "width": width, "height": height})
        for seen in objects:
            content["annotations"].append(_annotation(len(content["annotations"]) + 1, image_id, seen))
        yield name, jpeg


def _annotation(number: int, image_id: int, seen: Seen) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image_id,
        "category_id": CATEGORIES.index(seen.category) + 1,
        "bbox": list(seen.box),
        "area": seen.area,
        "iscrowd": 0,
    }


def _photograph(seed: int, split: str, index: int) -> Photograph:
    scene = draw(seed, split, index)
    height, width = scene.image.shape[:2]
    blue_first = np.ascontiguousarray(scene.image[:, :, ::-1])
    done, jpeg = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, scene.quality])
    if not done:
        raise RuntimeError(f"scene {index} of {split}: not encoded")
    return jpeg.tobytes(), width, height, scene.objects


def _one_thread() -> None:
    cv2.setNumThreads(1)
