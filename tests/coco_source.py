import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZES = {"train": 24, "val": 6}


def jpeg(seed: int, width: int = 60, height: int = 40, mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((width, height)).convert(mode).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def encoded(image: Image.Image, form: str = "PNG", **more: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **more)
    return buffer.getvalue()


def content(split: str) -> dict[str, Any]:
    """Instances of which every second image, the odd ids, holds a person over a quarter of it."""
    ids = _ids(split)
    return {
        "images": [{"id": i, "file_name": f"{i:06d}.jpg", "width": 60, "height": 40} for i in ids],
        "annotations": [
            {
                "id": i,
                "image_id": i,
                "category_id": 1 if i % 2 else 2,
                "bbox": [10, 10.0, 30, 20],
                "area": 600,
                "iscrowd": 0,
            }
            for i in ids
        ],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}],
    }


def write_source(folder: Path) -> Path:
    """A folder in COCO layout; images are listed in descending order of id."""
    (folder / "annotations").mkdir(parents=True)
    for split in SIZES:
        write_content(folder, split, content(split))
        (folder / "images" / split).mkdir(parents=True)
        for i in _ids(split):
            (folder / "images" / split / f"{i:06d}.jpg").write_bytes(jpeg(i))
    return folder


def write_content(folder: Path, split: str, value: object) -> Path:
    path = folder / "annotations" / f"instances_{split}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()


def _ids(split: str) -> list[int]:
    first = 1 if split == "train" else 1001
    return list(range(first, first + SIZES[split]))[::-1]
