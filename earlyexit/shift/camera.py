"""Labelled photographs of a user's camera."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from earlyexit.dataset import PackedSplit
from earlyexit.packing.decode import decode
from earlyexit.packing.labels import LabelRule
from earlyexit.raw.coco import Photograph, read_instances
from earlyexit.raw.layout import annotations_path


def read(folder: Path, rule: LabelRule, resolution: int) -> PackedSplit:
    """Return the val split of a folder in COCO layout; it needs no train split.

    Args:
        folder: holds annotations/instances_val.json and the photographs in images/val.
        rule: that labels the photographs; those that it drops are left out.
        resolution: both sides of the images in pixels.

    Raises:
        FileNotFoundError: the folder, the instances file or a listed photograph is missing.
        ValueError: the instances file is malformed, a photograph cannot be used, or a class is missing.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"shift.folder: {folder}: no such folder; it must hold annotations/instances_val.json and images/val"
        )
    listed = read_instances(annotations_path(folder, "val"), rule.measure, crowds=rule.crowds)
    if listed.skips:
        first = listed.skips[0]
        raise ValueError(
            f"shift.folder: {folder}: {len(listed.skips)} photographs cannot be used, e.g. {first.file_name}: "
            f"{first.reason}, {first.detail}"
        )
    photographs = [photograph for photograph in listed.photographs if not rule.drops(photograph)]
    try:
        rule.check({"val": photographs})
    except ValueError as error:
        raise ValueError(f"shift.folder: {folder}: {error}") from None
    paths = [folder / "images" / "val" / photograph.file_name for photograph in photographs]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"shift.folder: {missing[0]}: no such file; {len(missing)} of {len(paths)} listed photographs are missing"
        )
    pairs = tqdm(zip(paths, photographs, strict=True), "photographs of shift.folder", len(paths), delay=2)
    return PackedSplit(
        images=np.stack([_decoded(path, photograph, resolution) for path, photograph in pairs]),
        labels=np.array([rule.label(photograph) for photograph in photographs], np.int64),
        ids=np.array([photograph.id for photograph in photographs], np.int64),
    )


def _decoded(path: Path, photograph: Photograph, resolution: int) -> np.ndarray:
    try:
        return decode(path.read_bytes(), photograph.width, photograph.height, resolution)
    except MemoryError:
        raise
    except Exception as error:  # Pillow passes on whatever a damaged file leads its decoders to.
        raise ValueError(f"shift.folder: {path}: {error}") from error
