"""Small pictures of val images that leave at each exit, as data within the page."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from earlyexit.evaluation.per_image import Evaluation
from earlyexit.plots.sheets.choice import choose as choose_rows
from earlyexit.policy import decision
from earlyexit.task import CLASSES

_SIZE = 72


def choose(
    evaluation: Evaluation, images: np.ndarray, names: Sequence[str], thresholds: Sequence[int], policy: str
) -> dict[str, Any]:
    """Return pictures of images that leave at each exit, right and wrong answers apart.

    Args:
        evaluation: logits on the val split.
        images: of val, uint8 (N, H, W, 3).
        names: of the classifiers.
        thresholds: integer margins of the policy.
        policy: its name.
    """
    decided = decision.decide(evaluation.int8_early_exit, thresholds)
    rows = []
    for number, (name, pair) in enumerate(zip(names, choose_rows(evaluation, decided), strict=True)):
        groups = [
            [{"src": _uri(images[row]), "says": CLASSES[decided.labels[row]]} for row in chosen.tolist()]
            for chosen in pair
        ]
        count = int((decided.exits == number).sum())
        rows.append({"name": name, "count": count, "right": groups[0], "wrong": groups[1]})
    return {"policy": policy, "rows": rows}


def _uri(image: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(image).resize((_SIZE, _SIZE), Image.Resampling.BILINEAR).save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
