"""Draw how confident each early exit is of the val images, and how often it is right."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from earlyexit.evaluation.per_image import Evaluation
from earlyexit.plots import style
from earlyexit.policy import decision
from earlyexit.policy.thresholds import Thresholds

BINS = 40
_TICKS = np.array([0.5, 0.75, 0.9, 0.96, 0.99, 0.996, 0.999, 0.9999, 0.99999])
_COLOURS = {"right": style.RIGHT, "wrong": style.WRONG}


def histograms(evaluation: Evaluation, names: Sequence[str], scales: Sequence[float]) -> pd.DataFrame:
    """Return the number of val images that each early exit classifies right and wrong, by confidence.

    The width of a bin is a whole number of steps of the INT8 margin, so that every bin covers the same number of
    margins.

    Args:
        evaluation: logits on the val split.
        names, scales: of the classifiers and of their INT8 logits, the final one's last.

    Returns:
        a row for each bin. Columns: exit, margin_low (included) and margin_high (excluded), confidence_low and
        confidence_high (the same as probabilities), right, wrong.
    """
    parts = []
    for name, scale, logits in zip(names[:-1], scales, evaluation.int8_early_exit, strict=False):
        margins = decision.margins(logits)
        right = decision.labels(logits) == evaluation.labels
        step = math.ceil((margins.max() + 1) / BINS)
        edges = np.arange(0, margins.max() + 1 + step, step)
        confidence = decision.confidence(edges, scale)
        parts.append(
            pd.DataFrame(
                {
                    "exit": name,
                    "margin_low": edges[:-1],
                    "margin_high": edges[1:],
                    "confidence_low": confidence[:-1],
                    "confidence_high": confidence[1:],
                    "right": np.histogram(margins[right], edges)[0],
                    "wrong": np.histogram(margins[~right], edges)[0],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


@style.styled
def draw(table: pd.DataFrame, thresholds: Thresholds, scales: Sequence[float], n: int) -> Figure:
    """Draw the table of `histograms` over `n` val images, with the thresholds of Table I."""
    count = len(thresholds.exits)
    figure = style.figure(1.1 + 1.75 * count)
    panels = figure.subplots(count, squeeze=False, sharex=True)[:, 0]
    for index, (axes, name, scale) in enumerate(zip(panels, thresholds.exits, scales, strict=False)):
        bins = table[table["exit"] == name]
        _draw_bins(axes, bins, scale)
        _draw_thresholds(axes, {p: thresholds.margins[p][index] for p in thresholds.table}, scale)
        axes.set_title(
            f"{name}: {style.share(bins['right'].sum() / n, 1)} right", fontsize=9, fontweight="normal", pad=14
        )
    _draw_scale(panels[-1])
    handles: list[Artist] = [Patch(color=colour, label=label) for label, colour in _COLOURS.items()]
    handles.append(Line2D([], [], color="black", ls="--", lw=1, label="threshold: leaves to the right of it"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    style.title(figure, f"Confidence of each early exit on n = {n:,} val images")
    return figure


def _draw_bins(axes: Axes, bins: pd.DataFrame, scale: float) -> None:
    counts = bins.melt("margin_low", list(_COLOURS), "decision", "images")
    sns.histplot(
        counts.assign(logit=scale * counts["margin_low"]),
        x="logit",
        weights="images",
        bins=(scale * np.append(bins["margin_low"], bins["margin_high"].iloc[-1])).tolist(),
        hue="decision",
        hue_order=list(_COLOURS),
        palette=_COLOURS,
        multiple="stack",
        alpha=1,
        linewidth=0.4,
        edgecolor="white",
        legend=False,
        ax=axes,
    )
    axes.set_ylabel("Images")
    axes.grid(visible=False, axis="x")


def _draw_thresholds(axes: Axes, margins: dict[int, int], scale: float) -> None:
    for margin in sorted(set(margins.values())):
        place = scale * (margin + 1)
        text = ", ".join(f"p{percentile}" for percentile in margins if margins[percentile] == margin)
        axes.axvline(place, color="black", ls="--", lw=1)
        axes.annotate(text, (place, 1), (0, 2), ("data", "axes fraction"), "offset points", ha="center", fontsize=8)


def _draw_scale(axes: Axes) -> None:
    """Label differences of logits with their probabilities: on a scale of these most images would be in one bin."""
    places = np.log(_TICKS / (1 - _TICKS))
    limit = axes.get_xlim()[1]
    shown = places <= limit
    axes.set_xticks(places[shown], [f"{tick:g}" for tick in _TICKS[shown]])
    axes.set(xlim=(0, limit), xlabel="Confidence (softmax probability, on a logit scale)")
