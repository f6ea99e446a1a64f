"""Compose a sheet of val images that leave at each exit."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from earlyexit.dataset import PackedSplit
from earlyexit.evaluation.per_image import Evaluation
from earlyexit.plots import style
from earlyexit.plots.sheets.choice import RIGHT, WRONG, choose
from earlyexit.plots.sheets.sheet import GAP, Sheet
from earlyexit.policy import decision
from earlyexit.reports.failures import mean_lumas
from earlyexit.task import CLASSES

TILE = 96
_STEP = TILE + 2 * GAP
_LEFT = 130
_TOP = 102
_LINES = 36


def draw(
    evaluation: Evaluation,
    val: PackedSplit,
    names: Sequence[str],
    thresholds: list[int],
    percentile: int,
    sizes: np.ndarray,
) -> Sheet:
    """Draw a row of images for each classifier.

    Args:
        evaluation: logits on the val split.
        val: the images that were evaluated.
        names: of the classifiers.
        thresholds: integer margins of the percentile.
        percentile: named in the headline.
        sizes: the share of each image that its largest person covers, (N,); 0 where there is none.

    Raises:
        ValueError: the images are not those of the evaluation.
    """
    if not np.array_equal(val.ids, evaluation.ids):
        raise ValueError("the packed val split is not the one that was evaluated; rerun the evaluate stage")
    decisions = decision.decide(evaluation.int8_early_exit, thresholds)
    chosen = choose(evaluation, decisions)
    row_height = _STEP + _LINES
    lumas = mean_lumas(val.images)
    sheet = Sheet(_LEFT + (RIGHT + WRONG) * _STEP + 3 * GAP, _TOP + len(names) * row_height)
    wrong_from = _LEFT + RIGHT * _STEP + 2 * GAP
    sheet.text(GAP, GAP, f"Where val images leave, thresholds of percentile {percentile}", size=17, bold=True)
    sheet.text(GAP, GAP + 25, "each row from the surest to the least sure")
    sheet.text(GAP, GAP + 43, "below each image: what the exit says; the largest person's share of it; its mean luma")
    sheet.text(_LEFT, _TOP - 24, "right", bold=True, colour=style.RIGHT)
    sheet.text(wrong_from, _TOP - 24, "wrong", bold=True, colour=style.WRONG)
    for number, (name, pair) in enumerate(zip(names, chosen, strict=True)):
        y = _TOP + number * row_height
        leaves = decisions.exits == number
        sheet.text(GAP, y + 20, name, size=16, bold=True)
        sheet.text(GAP, y + 44, _count(leaves, decisions.labels == evaluation.labels), size=12)
        for rows, x, colour in zip(pair, (_LEFT, wrong_from), (style.RIGHT, style.WRONG), strict=True):
            for column, row in enumerate(rows):
                left = x + column * _STEP
                sheet.tile(_picture(val.images[row]), left, y, colour)
                says = CLASSES[decisions.labels[row]]
                sheet.text(left, y + TILE + 5, f"{says}\n{100 * sizes[row]:.1f} %, {lumas[row]:.2f}", size=12)
    return sheet


def _count(leaves: np.ndarray, right: np.ndarray) -> str:
    count = int(leaves.sum())
    if not count:
        return "no image\nleaves here"
    return f"{count:,} of {len(leaves):,}\nleave here,\n{style.share(right[leaves].mean(), 1)} right"


def _picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image).resize((TILE, TILE), Image.Resampling.BILINEAR)
