"""Compose a sheet of training photographs with their person boxes."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from earlyexit.dataset import PackedSplit, balanced
from earlyexit.plots.sheets.sheet import GAP, Sheet
from earlyexit.raw import coco, layout, zips
from earlyexit.task import CLASSES

SIDE = 8
TILE = 104
BOX = "#ffd400"
_STEP = TILE + GAP
_TOP = 84


def choose(split: PackedSplit) -> list[np.ndarray]:
    """Return, for each class, the ids of up to 32 random photographs; the same split gives the same ids."""
    half = min(SIDE * SIDE // 2, *np.bincount(split.labels, minlength=len(CLASSES)))
    rows = balanced(split.labels, 2 * int(half), seed=0)
    return [split.ids[rows[split.labels[rows] == label]] for label in range(len(CLASSES))]


def draw(raw: Path, split: PackedSplit, definition: str) -> Sheet:
    """Draw photographs of the train split, those with a person on the left.

    Args:
        raw: folder in the raw layout.
        split: the packed train split.
        definition: of the labels, for the headline.
    """
    chosen = choose(split)
    listed = coco.person_boxes(layout.annotations_path(raw, "train"), [int(i) for ids in chosen for i in ids])
    sheet = Sheet(SIDE * _STEP + 3 * GAP, _TOP + SIDE * _STEP)
    sheet.text(GAP, GAP, "Training photographs with their person boxes", size=17, bold=True)
    persons, others = (f"{int((split.labels == label).sum()):,}" for label in (1, 0))
    sheet.text(GAP, GAP + 25, definition)
    middle = SIDE // 2 * _STEP + 3 * GAP
    sheet.text(GAP, _TOP - 24, f"person (n = {persons})", bold=True)
    sheet.text(middle, _TOP - 24, f"no person (n = {others})", bold=True)
    stored = layout.stored(raw)["train"]
    for left, ids in ((GAP, chosen[1]), (middle, chosen[0])):
        for place, image_id in enumerate(ids):
            name, boxes = listed[int(image_id)]
            picture = _picture(zips.read(stored[name]), boxes)
            row, column = divmod(place, SIDE // 2)
            inset = (TILE - picture.width) // 2, (TILE - picture.height) // 2
            sheet.tile(picture, left + column * _STEP + inset[0], _TOP + row * _STEP + inset[1])
    return sheet


def _picture(content: bytes, boxes: Sequence[Sequence[float]]) -> Image.Image:
    with Image.open(io.BytesIO(content), formats=layout.FORMATS) as photograph:
        scale = TILE / max(photograph.size)
        size = round(photograph.width * scale), round(photograph.height * scale)
        picture = photograph.convert("RGB").resize(size, Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(picture)
    for x, y, width, height in boxes:
        pen.rectangle([x * scale, y * scale, (x + width) * scale, (y + height) * scale], outline=BOX)
    return picture
