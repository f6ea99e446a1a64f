"""Draw the candidate exits and the best sets of them, from the report of the placement stage."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from earlyexit.plots import style

_COLOURS = {"separable": "#0072b2", "strided": "#d55e00", "pooled": "#009e73"}


def candidates(found: Mapping[str, Any]) -> pd.DataFrame:
    """Return a row for each candidate exit and each of the best sets; none where the exits were given.

    Returns:
        columns: kind ("candidate" or "set"), head, exits (names of blocks), cost (share of the baseline's), accuracy
        (of a candidate alone), loss (of a set).
    """
    rows: list[dict[str, Any]] = []
    if found["placement"] == "searched":
        for one in found["candidates"]:
            cost = one["cost"] / found["baseline"]
            row = {"kind": "candidate", "head": one["head"], "exits": one["block"], "cost": cost}
            rows.append({**row, "accuracy": one["accuracy"], "loss": None})
        for one in found["best"]:
            exits = " ".join(one["exits"])
            row = {"kind": "set", "head": one["head"], "exits": exits, "cost": 1 / one["speedup"]}
            rows.append({**row, "accuracy": None, "loss": one["loss"]})
    columns = ["kind", "head", "exits", "cost", "accuracy", "loss"]
    return pd.DataFrame(rows, columns=columns).astype({"cost": float, "accuracy": float, "loss": float})


@style.styled
def draw(table: pd.DataFrame, found: Mapping[str, Any]) -> Figure:
    """Draw the rows of `candidates`: accuracy and cost of each exit alone, and what the best sets cost."""
    figure = style.figure(4.2)
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    _draw_candidates(left, table[table["kind"] == "candidate"])
    _draw_sets(right, table[table["kind"] == "set"])
    subtitle = f"FP32, backbone frozen, n = {found['n']:,} calibration images"
    style.headline(left, "Each exit alone", subtitle)
    style.headline(right, "Best sets", f"losing at most {style.share(found['loss'], None)}")
    style.legend(figure, left, lambda label: label in _COLOURS, 3)
    return figure


def _draw_candidates(axes: Axes, rows: pd.DataFrame) -> None:
    for head, line in rows.groupby("head", sort=False):
        colour = _COLOURS[str(head)]
        axes.plot(line["cost"], line["accuracy"], "o-", ms=4, lw=1.2, color=colour, label=str(head))
    best = rows.loc[rows.groupby("exits", sort=False)["accuracy"].idxmax()]
    for _, row in best.iterrows():
        style.label(axes, row["exits"].removeprefix("block"), (row["cost"], row["accuracy"]), (0, 6), "0.3")
    axes.set(xlabel="Cost of an image that leaves there, of the baseline's", ylabel="Accuracy")
    axes.xaxis.set_major_formatter(style.percent)
    axes.yaxis.set_major_formatter(style.percent)


def _draw_sets(axes: Axes, rows: pd.DataFrame) -> None:
    sizes = rows["exits"].str.count(" ") + 1
    for head, line in rows.groupby("head", sort=False):
        axes.plot(sizes[line.index], line["cost"], "o-", ms=6, lw=1.2, color=_COLOURS[str(head)])
    axes.axhline(1, color=style.REFERENCE, lw=1)
    axes.set(xlabel="Exits", ylabel="Mean cost of an image, of the baseline's", xticks=sorted(set(sizes)))
    axes.set_xlim(0.7, sizes.max() + 0.3)
    axes.set_ylim(0)
    axes.yaxis.set_major_formatter(style.percent)
