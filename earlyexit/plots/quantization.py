"""Draw the accuracy that quantization costs each classifier."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from earlyexit.evaluation.per_image import Evaluation, report
from earlyexit.plots import style

_LOOKS = {"fp32": ("FP32", "o", style.REFERENCE, -0.09), "int8": ("INT8", "s", style.OURS, 0.09)}


def accuracies(evaluation: Evaluation) -> pd.DataFrame:
    """Return the val accuracy of the baseline and of every classifier, FP32 and INT8.

    Returns:
        a row for each classifier. Columns: classifier, fp32, fp32_low, fp32_high (95 % interval), int8, int8_low,
        int8_high, points (INT8's accuracy minus FP32's, in percentage points).
    """
    rows: list[dict[str, Any]] = []
    for name, found in report(evaluation).items():
        if name == "n":
            continue
        row = {"classifier": name}
        for kind in _LOOKS:
            row |= {
                kind: found[kind]["value"],
                f"{kind}_low": found[kind]["low"],
                f"{kind}_high": found[kind]["high"],
            }
        rows.append({**row, "points": 100 * (found["int8"]["value"] - found["fp32"]["value"])})
    return pd.DataFrame(rows)


@style.styled
def draw(table: pd.DataFrame, n: int) -> Figure:
    """Draw the table of `accuracies` over `n` val images."""
    figure = style.figure(3.4)
    axes = figure.subplots()
    for kind, (label, marker, colour, shift) in _LOOKS.items():
        errors = style.whiskers(table, kind)
        axes.errorbar(table.index + shift, table[kind], errors, fmt=marker, ms=6, capsize=3, color=colour, label=label)
    tops = table[["fp32_high", "int8_high"]].max(axis=1)
    for place, top, points in zip(table.index, tops, table["points"], strict=True):
        text = f"{points:+.2f} points".replace("-", "−")
        axes.annotate(text, (place, top), (0, 5), textcoords="offset points", ha="center", fontsize=8.5)
    axes.set_xticks(table.index, table["classifier"])
    axes.set(xlim=(-0.5, len(table) - 0.5), ylabel="Accuracy")
    axes.margins(y=0.15)
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_formatter(style.percent)
    axes.legend(loc="best")
    style.headline(axes, "INT8 against FP32", f"every classifier on all n = {n:,} val images; bars: 95 % intervals")
    return figure
