"""Photographs in the raw layout."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from earlyexit.dataset import PackedSplit
from earlyexit.packing.stored import Stored, stored
from earlyexit.raw import layout
from tests.coco_source import encoded


class File(NamedTuple):
    """A photograph: its id, its content, and its size in pixels."""

    id: int
    content: bytes
    width: int
    height: int


def write(raw: Path, split: str, files: Sequence[File]) -> list[Stored]:
    """Write the photographs of train or val."""
    layout.write_photographs(layout.archive_path(raw, split), [(f"{file.id}", file.content) for file in files])
    listed = [{"id": file.id, "file_name": f"{file.id}", "width": file.width, "height": file.height} for file in files]
    content = {"images": listed, "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    layout.write_instances(raw, split, content)
    for other in layout.SOURCE_SPLITS:  # the layout has both
        if not layout.archive_path(raw, other).exists():
            layout.write_photographs(layout.archive_path(raw, other), [])
    return stored(raw, split, np.array([file.id for file in files]))


def lossless(images: PackedSplit) -> list[File]:
    """The images of a split as photographs that lose nothing."""
    height, width = images.images.shape[1:3]
    return [
        File(id_, encoded(Image.fromarray(pixels)), width, height)
        for id_, pixels in zip(images.ids.tolist(), images.images, strict=True)
    ]
