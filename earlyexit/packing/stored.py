"""The photographs behind packed images, as they are stored: they have more pixels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earlyexit.packing.decode import decode
from earlyexit.raw import coco, layout, zips
from earlyexit.raw.zips import Member


@dataclass(frozen=True, slots=True)
class Stored:
    """A photograph in the raw layout.

    Attributes:
        id: the image id.
        width, height: in pixels, as listed.
        member: its file.
    """

    id: int
    width: int
    height: int
    member: Member

    def pixels(self, resolution: int) -> NDArray[np.uint8]:
        """Return the photograph squashed to resolution x resolution x 3; raises what `zips.read` and `decode` raise."""
        return decode(zips.read(self.member), self.width, self.height, resolution)


def stored(raw: Path, split: str, ids: NDArray[np.int64]) -> list[Stored]:
    """Return the photographs of packed images, in their order.

    Args:
        raw: a folder in the raw layout (`earlyexit.raw.layout`).
        split: train, calibration or val.
        ids: of the images, (N,).

    Raises:
        FileNotFoundError: a file of the raw layout is missing.
        ValueError: an instances file or zip is malformed, or one of the images is not there.
    """
    source = "val" if split == "val" else "train"
    path = layout.annotations_path(raw, source)
    images, members = coco.listed(path), layout.stored(raw)[source]
    found = []
    for id_ in ids.tolist():
        image = images.get(id_)
        member = image and members.get(image["file_name"])
        if image is None or member is None:
            raise ValueError(f"{path}: image {id_} of {split} is not listed or not stored; run the prepare stage again")
        found.append(Stored(id_, image["width"], image["height"], member))
    return found
