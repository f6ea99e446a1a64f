"""What each segment costs, in measured time and in multiply-accumulates, against the baseline."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from earlyexit.plots import style


def costs(latency: dict[str, Any], macs: Sequence[int], baseline_macs: int) -> pd.DataFrame:
    """Return the cost of each segment, and of leaving after it.

    Args:
        latency: what the benchmark stage measured.
        macs: of each segment of the early-exit network.
        baseline_macs: of the network without exits.

    Returns:
        the baseline, then a row a segment under its classifier's name; classifier, time (microseconds per image),
        time_until (of this segment and those before), time_share (time_until over the baseline's), macs, macs_until,
        macs_share.
    """
    names = ["baseline", *latency["segments"]]
    table = pd.DataFrame({"classifier": names})
    costs_of = {"time": [latency["baseline"], *latency["segments"].values()], "macs": [baseline_macs, *macs]}
    for kind, values in costs_of.items():
        until = np.concatenate([values[:1], np.cumsum(values[1:])])
        table[kind], table[f"{kind}_until"], table[f"{kind}_share"] = values, until, until / values[0]
    return table


@style.styled
def draw(table: pd.DataFrame, latency: dict[str, Any]) -> Figure:
    """Draw what `costs` returned."""
    figure = style.figure(1.5 + 0.42 * len(table))
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_bars(left, table, "time", 1, "µs")
    _draw_bars(right, table, "macs", 1e6, "M")
    left.set_xlabel("Time per image (µs)")
    right.set_xlabel("Multiply-accumulates per image (millions)")
    left.set_yticks(range(len(table)), ["INT8 baseline", *(f"leaves at {name}" for name in table["classifier"][1:])])
    left.invert_yaxis()
    style.headline(left, "Measured time", f"one thread, n = {latency['n']:,} images, {latency['passes']} passes")
    style.headline(right, "Arithmetic", "share: of the baseline's")
    return figure


def _draw_bars(axes: Axes, table: pd.DataFrame, kind: str, unit: float, suffix: str) -> None:
    segments = table[1:]
    axes.barh(0, table[kind].iloc[0] / unit, color=style.REFERENCE, height=0.65)
    begins = segments[f"{kind}_until"] - segments[kind]
    for place, colour in zip(segments.index, style.colours(list(segments["classifier"])).values(), strict=True):
        rows = segments.index[segments.index >= place]
        axes.barh(rows, segments.loc[place, kind] / unit, left=begins[place] / unit, color=colour, height=0.65)
    for place, until, share in zip(table.index, table[f"{kind}_until"], table[f"{kind}_share"], strict=True):
        text = f"{until / unit:.3g} {suffix}" + (f", {style.share(share)}" if place else "")
        axes.annotate(text, (until / unit, place), (4, 0), textcoords="offset points", va="center", fontsize=8.5)
    axes.set_xlim(0, 1.38 * table[f"{kind}_until"].max() / unit)
    axes.grid(visible=False, axis="y")
