"""Draw reliability diagrams: how often each classifier is right, by its confidence."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from earlyexit.evaluation import statistics
from earlyexit.evaluation.per_image import Evaluation
from earlyexit.evaluation.statistics import accuracy
from earlyexit.plots import style
from earlyexit.policy import decision

_COLUMNS = 4


def bins(evaluation: Evaluation, names: Sequence[str], scales: Sequence[float]) -> pd.DataFrame:
    """Return the images and the accuracy of each classifier in each bin of the expected calibration error.

    Args:
        evaluation: logits on the val split.
        names, scales: of the classifiers and of their INT8 logits, the final one's last.

    Returns:
        a row for each bin. Columns: classifier, confidence_low (excluded, except in the first bin) and confidence_high,
        images, right, confidence (mean), accuracy, accuracy_low and accuracy_high (Wilson, 95 %; NaN if there are no
        images), ece and auroc of the classifier.
    """
    rows = []
    for name, scale, logits in zip(names, scales, evaluation.int8_early_exit, strict=True):
        margins, answers = decision.margins(logits), decision.labels(logits)
        confidence, right = decision.confidence(margins, scale), answers == evaluation.labels
        scores = {
            "ece": statistics.calibration_error(confidence, right),
            "auroc": statistics.auroc(margins, right),
        }
        places = statistics.bin_of(confidence)
        for place in range(statistics.BINS):
            inside = places == place
            rows.append(
                {
                    "classifier": name,
                    "confidence_low": statistics.EDGES[place],
                    "confidence_high": statistics.EDGES[place + 1],
                    "images": int(inside.sum()),
                    "right": int(right[inside].sum()),
                    **_inside(confidence[inside], answers[inside], evaluation.labels[inside]),
                    **scores,
                }
            )
    return pd.DataFrame(rows).astype({"auroc": float})


@style.styled
def draw(table: pd.DataFrame, n: int) -> Figure:
    """Draw the table of `bins` over `n` val images, a panel for each classifier."""
    colours = style.colours(list(table["classifier"].unique()))
    columns = min(len(colours), _COLUMNS)
    rows = math.ceil(len(colours) / columns)
    figure = style.figure(0.9 + 2.6 * rows)
    panels = figure.subplots(2 * rows, columns, squeeze=False, sharex=True, height_ratios=[3, 1] * rows)
    floor = min(math.floor(10 * table["accuracy_low"].min()) / 10, 0.5)
    top = 1.1 * table["images"].max() / n
    for index, (name, colour) in enumerate(colours.items()):
        row, column = divmod(index, columns)
        above, below = panels[2 * row : 2 * row + 2, column]
        own = table[table["classifier"] == name]
        _draw_accuracy(above, own, colour)
        _draw_images(below, own, colour, n)
        above.set_ylim(floor - 0.02, 1.02)
        below.set_ylim(0, top)
        _label(above, below, first=column == 0)
        style.headline(above, name, _scores(own))
    for unused in panels[-2:, columns - (rows * columns - len(colours)) :].flat:
        unused.remove()
    figure.align_ylabels()
    diagonal = Line2D([], [], ls="--", lw=1, color=style.REFERENCE, label="perfect calibration")
    point = Line2D([], [], ls="", marker="o", ms=4, color="black", label="images of a bin, with Wilson 95 % interval")
    figure.legend(handles=[diagonal, point], loc="outside lower center", ncols=2)
    style.title(figure, f"Reliability of each INT8 classifier on n = {n:,} val images")
    return figure


def _inside(confidence: np.ndarray, answers: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    if len(labels) == 0:
        return dict.fromkeys(("confidence", "accuracy", "accuracy_low", "accuracy_high"), math.nan)
    found = accuracy(answers, labels)
    return {
        "confidence": float(confidence.mean()),
        "accuracy": found.value,
        "accuracy_low": found.low,
        "accuracy_high": found.high,
    }


def _draw_accuracy(axes: Axes, own: pd.DataFrame, colour: str) -> None:
    filled = own[own["images"] > 0]
    axes.plot([0.5, 1], [0.5, 1], ls="--", lw=1, color=style.REFERENCE)
    axes.errorbar(
        filled["confidence"],
        filled["accuracy"],
        yerr=np.clip(style.whiskers(filled, "accuracy"), 0, None),
        fmt="o",
        ms=4,
        lw=1,
        color=colour,
        markeredgecolor="black",
        markeredgewidth=0.4,
    )


def _draw_images(axes: Axes, own: pd.DataFrame, colour: str, n: int) -> None:
    axes.bar(
        own["confidence_low"],
        own["images"] / n,
        width=own["confidence_high"] - own["confidence_low"],
        align="edge",
        color=colour,
        edgecolor="white",
        linewidth=0.4,
    )


def _label(above: Axes, below: Axes, *, first: bool) -> None:
    """Label the axes of one classifier; only the `first` of a row has labels on its vertical axes."""
    below.set(xlim=(0.49, 1.01), xticks=[0.6, 0.8, 1], xlabel="Confidence")
    below.xaxis.set_major_formatter(style.percent)
    below.tick_params(labelbottom=True)
    above.yaxis.set_major_locator(MultipleLocator(0.1))
    for axes, text in ((above, "Right"), (below, "Images")):
        axes.yaxis.set_major_formatter(style.percent)
        axes.tick_params(labelleft=first)
        if first:
            axes.set_ylabel(text)


def _scores(own: pd.DataFrame) -> str:
    error, area = own["ece"].iloc[0], own["auroc"].iloc[0]
    return f"ECE {style.share(error, 1)}, {'no AUROC' if math.isnan(area) else f'AUROC {area:.3f}'}"
