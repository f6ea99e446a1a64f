"""Draw what leaving at each exit costs: measured time, and estimated cycles of a Cortex-M4."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from earlyexit.evaluation.costs import Costs
from earlyexit.plots import style

# Kinds of layers in the order in which they are stacked; dense and mean are too small to be seen.
KINDS = {"conv": "stem", "depthwise": "depthwise", "pointwise": "pointwise", "add": "add"}
_SHADES = ("#0072b2", "#d55e00", "#56b4e9", "#009e73", "#999999")


def measured(names: Sequence[str], costs: Mapping[str, Costs]) -> pd.DataFrame:
    """Return time and multiply-accumulates of each segment, and of leaving after it.

    Args:
        names: of the classifiers.
        costs: "macs" and "measured" (microseconds).

    Returns:
        a row for the baseline, then one for each segment under its classifier's name. Columns: classifier, time
        (microseconds per image), time_until (of this segment and those before), time_share (time_until over the
        baseline's), macs, macs_until, macs_share.
    """
    table = pd.DataFrame({"classifier": ["baseline", *names]})
    for column, unit in {"time": "measured", "macs": "macs"}.items():
        base, until = costs[unit].baseline, np.array(costs[unit].until)
        table[column] = [base, *np.diff(until, prepend=0)]
        table[f"{column}_until"] = [base, *until]
        table[f"{column}_share"] = table[f"{column}_until"] / base
    return table


def emulated(report: dict[str, Any]) -> pd.DataFrame:
    """Return the estimated cycles of the baseline and of leaving at each exit.

    Args:
        report: of the emulate stage.

    Returns:
        a row for the baseline, then one for each segment under its classifier's name. Columns: classifier, cycles (of
        the segment), cycles_until (of this segment and those before), cycles_share and macs_share (until there, over
        the baseline's), and the cycles until there by kind of layer: stem, depthwise, pointwise, add, other.
    """
    base, layers = report["baseline"], report["layers"]
    whole = {**base, "cycles_until": base["cycles"], "macs_until": base["macs"]}
    entries = [("baseline", whole, layers["baseline"])]
    passed: list[dict[str, Any]] = []
    for name, entry in report["segments"].items():
        passed = passed + [row for row in layers["early_exit"] if row["segment"] == name]
        entries.append((name, entry, passed))
    rows = [
        {
            "classifier": name,
            "cycles": entry["cycles"],
            "cycles_until": entry["cycles_until"],
            "cycles_share": entry["cycles_until"] / base["cycles"],
            "macs_share": entry["macs_until"] / base["macs"],
            **_by_kind(inside, entry["cycles_until"]),
        }
        for name, entry, inside in entries
    ]
    return pd.DataFrame(rows)


@style.styled
def draw_measured(table: pd.DataFrame, latency: dict[str, Any]) -> Figure:
    """Draw the table of `measured`: time to the left, multiply-accumulates to the right."""
    figure = style.figure(1.5 + 0.42 * len(table))
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_segments(left, table, "time", 1, "µs")
    _draw_segments(right, table, "macs", 1e6, "M")
    left.set_xlabel("Time per image (µs)")
    right.set_xlabel("Multiply-accumulates per image (millions)")
    _name_rows(left, table)
    style.headline(left, "Measured time", f"one thread, n = {latency['n']:,} images, {latency['passes']} passes")
    style.headline(right, "Arithmetic", "share: of the baseline's")
    return figure


@style.styled
def draw_emulated(table: pd.DataFrame, report: dict[str, Any]) -> Figure:
    """Draw the table of `emulated`, the cycles of each kind of layer in a colour of their own."""
    figure = style.figure(1.9 + 0.42 * len(table))
    axes = figure.subplots()
    begins = np.zeros(len(table))
    for kind, colour in zip((*KINDS.values(), "other"), _SHADES, strict=True):
        widths = table[kind].to_numpy(np.float64) / 1e6
        _draw_bars(axes, table.index, widths, begins, colour, label=kind)
        begins += widths
    macs = [f" (MACs: {style.share(share)})" for share in table["macs_share"]]
    _write_shares(axes, table["cycles_until"] / 1e6, "M", table["cycles_share"], macs, room=1.42)
    _name_rows(axes, table)
    axes.set_xlabel("Estimated cycles per image (millions)")
    subtitle = f"n = {report['images']} images; cycles estimated, no wait states"
    style.headline(axes, "Cortex-M4, estimated", subtitle)
    style.legend(figure, axes, lambda label: label != "other", len(_SHADES))
    return figure


def _by_kind(layers: Sequence[dict[str, Any]], total: int) -> dict[str, int]:
    found = {name: sum(row["cycles"] for row in layers if row["kind"] == kind) for kind, name in KINDS.items()}
    return {**found, "other": total - sum(found.values())}


def _draw_segments(axes: Axes, table: pd.DataFrame, kind: str, unit: float, suffix: str) -> None:
    """Draw a bar for the baseline, and bars in which each segment has its classifier's colour."""
    own, until, segments = table[kind] / unit, table[f"{kind}_until"] / unit, table[1:]
    _draw_bars(axes, 0, own[0], 0, style.REFERENCE)
    for place, colour in zip(segments.index, style.colours(list(segments["classifier"])).values(), strict=True):
        _draw_bars(axes, segments.index[segments.index >= place], own[place], until[place] - own[place], colour)
    _write_shares(axes, until, suffix, table[f"{kind}_share"], [""] * len(table), room=1.38)


def _draw_bars(axes: Axes, rows: Any, widths: Any, begins: Any, colour: str, label: str = "") -> None:
    axes.barh(rows, widths, left=begins, color=colour, height=0.65, label=label)
    axes.grid(visible=False, axis="y")


def _write_shares(
    axes: Axes, ends: "pd.Series[float]", suffix: str, shares: "pd.Series[float]", notes: Sequence[str], room: float
) -> None:
    """Write its cost behind each bar, and behind all but the baseline's its share of the baseline's cost and a note.

    `ends` are the lengths of the bars; the axis becomes `room` times as long as the longest.
    """
    for place, (end, share, note) in enumerate(zip(ends, shares, notes, strict=True)):
        text = f"{end:.3g} {suffix}" + (f", {style.share(share)}{note}" if place else "")
        axes.annotate(text, (end, place), (4, 0), textcoords="offset points", va="center", fontsize=8.5)
    axes.set_xlim(0, room * ends.max())


def _name_rows(axes: Axes, table: pd.DataFrame) -> None:
    axes.set_yticks(range(len(table)), ["INT8 baseline", *(f"leaves at {name}" for name in table["classifier"][1:])])
    axes.invert_yaxis()
