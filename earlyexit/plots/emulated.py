"""What each exit costs on an emulated Cortex-M4: instructions until it, and which layers take them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from earlyexit.plots import style

# In the order in which they are stacked; dense and mean are too small to be seen.
KINDS = {"conv": "stem", "depthwise": "depthwise", "pointwise": "pointwise", "add": "add"}
_SHADES = ("#0072b2", "#d55e00", "#56b4e9", "#009e73", "#999999")


def costs(report: dict[str, Any]) -> pd.DataFrame:
    """Return the instructions of the baseline and of leaving at each exit.

    Args:
        report: what the emulate stage wrote.

    Returns:
        the baseline, then a row a segment under its classifier's name; classifier, instructions (of the segment),
        instructions_until (of this segment and those before), instructions_share and macs_share (until, over the
        baseline's), and the instructions until there by kind of layer: stem, depthwise, pointwise, add, other.
    """
    segments, base = report["segments"], report["baseline"]
    rows = [
        {
            "classifier": "baseline",
            "instructions": base["instructions"],
            "instructions_until": base["instructions"],
            "macs_share": 1.0,
            **_by_kind(report["layers"]["baseline"], base["instructions"]),
        }
    ]
    passed: list[str] = []
    for name, entry in segments.items():
        passed.append(name)
        layers = [row for row in report["layers"]["early_exit"] if row["segment"] in passed]
        rows.append(
            {
                "classifier": name,
                "instructions": entry["instructions"],
                "instructions_until": entry["until"],
                "macs_share": entry["macs_until"] / base["macs"],
                **_by_kind(layers, entry["until"]),
            }
        )
    table = pd.DataFrame(rows)
    table.insert(3, "instructions_share", table["instructions_until"] / base["instructions"])
    return table


@style.styled
def draw(table: pd.DataFrame, report: dict[str, Any]) -> Figure:
    """Draw what `costs` returned."""
    figure = style.figure(1.9 + 0.42 * len(table))
    axes = figure.subplots()
    begins = np.zeros(len(table))
    for kind, colour in zip((*KINDS.values(), "other"), _SHADES, strict=True):
        widths = table[kind].to_numpy(np.float64) / 1e6
        axes.barh(table.index, widths, left=begins, color=colour, height=0.65, label=kind)
        begins += widths
    _write_shares(axes, table)
    axes.set_yticks(range(len(table)), ["INT8 baseline", *(f"leaves at {name}" for name in table["classifier"][1:])])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.42 * begins.max())
    axes.set_xlabel("Instructions per image (millions)")
    axes.grid(visible=False, axis="y")
    style.headline(axes, "Emulated Cortex-M4", _subtitle(report))
    style.legend(figure, axes, lambda label: label != "other", len(_SHADES))
    return figure


def _by_kind(layers: Sequence[dict[str, Any]], total: int) -> dict[str, int]:
    found = {name: sum(row["instructions"] for row in layers if row["kind"] == kind) for kind, name in KINDS.items()}
    return {**found, "other": total - sum(found.values())}


def _write_shares(axes: Axes, table: pd.DataFrame) -> None:
    for place, row in table.iterrows():
        millions = row["instructions_until"] / 1e6
        text = f"{millions:.3g} M"
        if place:
            text += f", {style.share(row['instructions_share'])} (MACs: {style.share(row['macs_share'])})"
        axes.annotate(text, (millions, place), (4, 0), textcoords="offset points", va="center", fontsize=8.5)


def _subtitle(report: dict[str, Any]) -> str:
    means = [f"{row['speedup']:.2f}× at {name}" for name, row in report["cascade"].items()]
    return f"mean speedup {', '.join(means)}; n = {report['images']} images; instructions, not cycles"
