"""Draw accuracy against speedup over all percentiles, with the paper's points."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from earlyexit.evaluation.per_image import Evaluation
from earlyexit.evaluation.statistics import accuracy
from earlyexit.paper import TABLE1
from earlyexit.plots import style
from earlyexit.policy import decision


def references(evaluation: Evaluation, over_percentiles: pd.DataFrame, table: Sequence[int]) -> pd.DataFrame:
    """Return the points that the figure marks: the rows of Table I, ours and the paper's.

    Args:
        evaluation: logits on the val split.
        over_percentiles: rows of `evaluation.frontier.curve`.
        table: percentiles of Table I.

    Returns:
        a row for each point. Columns: source ("ours" or "paper"), configuration, speedup (missing for FP32), accuracy,
        accuracy_low, accuracy_high (missing for the paper's points).
    """
    fixed = {"fp32": (None, evaluation.fp32_early_exit[-1]), "int8_baseline": (1.0, evaluation.int8_baseline[0])}
    rows: list[tuple[Any, ...]] = []
    for name, (speedup, logits) in fixed.items():
        found = accuracy(decision.labels(logits), evaluation.labels)
        rows.append(("ours", name, speedup, found.value, found.low, found.high))
    measured = over_percentiles[["speedup_measured", "accuracy", "accuracy_low", "accuracy_high"]]
    rows += [("ours", f"p{percentile}", *measured.loc[percentile]) for percentile in table]
    rows += [("paper", name, row["speedup"], row["accuracy"], None, None) for name, row in TABLE1.items()]
    names = ["source", "configuration", "speedup", "accuracy", "accuracy_low", "accuracy_high"]
    return pd.DataFrame(rows, columns=names).astype(dict.fromkeys(names[2:], float))


@style.styled
def draw(over_percentiles: pd.DataFrame, points: pd.DataFrame, n: int) -> Figure:
    """Draw the rows of `evaluation.frontier.curve` and the table of `references`, over `n` val images."""
    figure = style.figure(5.2)
    axes = figure.subplots()
    ours, paper = (points[points["source"] == source].set_index("configuration") for source in ("ours", "paper"))
    _draw_curves(axes, over_percentiles)
    _draw_ours(axes, ours)
    _draw_paper(axes, paper)
    axes.set(xlabel="Speedup over our INT8 baseline (the paper's: over its own)", ylabel="Accuracy")
    axes.xaxis.set_major_formatter(style.times)
    axes.yaxis.set_major_formatter(style.percent)
    style.legend(figure, axes, lambda label: label.startswith("our"), 2)
    style.headline(
        axes, "Accuracy against speed", f"INT8 cascade, percentiles 0 to 100, n = {n:,} val images; band: 95 % interval"
    )
    return figure


def _draw_curves(axes: Axes, table: pd.DataFrame) -> None:
    look: dict[str, Any] = {"sort": False, "estimator": None, "legend": False, "color": style.OURS, "ax": axes}
    sns.lineplot(table, x="speedup_measured", y="accuracy", lw=2, label="ours, measured time", **look)
    sns.lineplot(table, x="speedup_macs", y="accuracy", lw=0.9, ls="--", label="ours, multiply-accumulates", **look)
    axes.fill_between(
        table["speedup_measured"], table["accuracy_low"], table["accuracy_high"], color=style.OURS, alpha=0.15, lw=0
    )


def _draw_ours(axes: Axes, ours: pd.DataFrame) -> None:
    baseline = ours.loc[["int8_baseline"]]
    axes.errorbar(
        baseline["speedup"],
        baseline["accuracy"],
        style.whiskers(baseline, "accuracy"),
        fmt="s",
        ms=6,
        capsize=3,
        color=style.REFERENCE,
        label="our INT8 baseline",
    )
    axes.axhline(ours["accuracy"]["fp32"], color=style.REFERENCE, lw=1, ls=":", label="our FP32, final exit")
    cascade = ours.drop(index=["fp32", "int8_baseline"])
    axes.plot(cascade["speedup"], cascade["accuracy"], "o", ms=7, mec="white", color=style.OURS)
    _name(axes, cascade, 8, style.OURS)


def _draw_paper(axes: Axes, paper: pd.DataFrame) -> None:
    look: dict[str, Any] = {"ls": ":", "lw": 1, "ms": 7, "mfc": "white", "mew": 1.5, "color": style.PAPER}
    cascade = paper.drop(index=["fp32", "int8_baseline"]).sort_values("speedup")
    baseline = paper.loc["int8_baseline"]
    axes.plot(cascade["speedup"], cascade["accuracy"], marker="D", label="paper, on VWW", **look)
    axes.plot(baseline["speedup"], baseline["accuracy"], marker="s", label="paper, INT8 baseline", **look)
    axes.axhline(paper["accuracy"]["fp32"], color=style.PAPER, lw=1, ls=":", label="paper, FP32")
    _name(axes, cascade, -15, style.PAPER)


def _name(axes: Axes, points: pd.DataFrame, offset: int, colour: str) -> None:
    """Label points; a label that would overlap the one before it moves one line away from the curve."""
    left, right = axes.get_xlim()
    line, before = 0, -math.inf
    for name, row in points.sort_values("speedup").iterrows():
        line = line + 1 if row["speedup"] - before < 0.04 * (right - left) else 0
        before = row["speedup"]
        away = round(offset + math.copysign(11 * line, offset))
        style.label(axes, str(name), (row["speedup"], row["accuracy"]), (0, away), colour)
