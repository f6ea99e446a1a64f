"""The val split and what both networks say of it, for the stages that need both."""

from pathlib import Path

import numpy as np

from earlyexit.dataset import PackedSplit, open_split
from earlyexit.evaluation import per_image
from earlyexit.evaluation.per_image import Evaluation

PACKED = Path("data/packed")


def read() -> tuple[PackedSplit, Evaluation]:
    """Return the packed val split and the logits on it.

    Raises:
        FileNotFoundError, ValueError: a file is missing or not valid, or the two are not of the same images.
    """
    split = open_split(PACKED, "val")
    evaluation = per_image.load(Path("models/evaluation/val.safetensors"))
    if not np.array_equal(split.ids, evaluation.ids):
        raise ValueError("data/packed: val is not the split that was evaluated; run `dvc repro evaluate`")
    return split, evaluation
