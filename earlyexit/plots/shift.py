"""Draw what the guaranteed policy keeps on images of other cameras, and what thresholds from the camera itself keep."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from earlyexit.plots import style

WHOLE = "whole network"
_COLOURS = {WHOLE: style.REFERENCE, "calibration images": "#d55e00", "the camera": "#009e73"}
_KEYS = ("accuracy", "accuracy_low", "accuracy_high", "loss", "risk", "risk_low", "risk_high", "early_exit_rate")


def rows(found: Mapping[str, Any]) -> pd.DataFrame:
    """Return what every policy keeps on the images of every shift.

    Args:
        found: the report of the shift stage.

    Returns:
        a row for each shift and policy on all images, and for each source of the guaranteed policy's thresholds on the
        images that no thresholds come from. Columns: shift, policy, thresholds_from, n, accuracy, accuracy_low,
        accuracy_high, loss, risk, risk_low, risk_high, early_exit_rate, speedup_emulated. The whole network has no
        thresholds_from.
    """
    table: list[dict[str, Any]] = []

    def add(shift: str, policy: str, source: str, n: int, entry: Mapping[str, Any]) -> None:
        keys = (*_KEYS, "speedup_emulated")
        row = {"shift": shift, "policy": policy, "thresholds_from": source, "n": n}
        table.append({**row, **{key: entry.get(key, np.nan) for key in keys}})

    for one in found["shifts"]:
        whole = one["whole"]
        accuracy = {"accuracy": whole["value"], "accuracy_low": whole["low"], "accuracy_high": whole["high"]}
        add(one["shift"], WHOLE, "none", one["n"], accuracy)
        for name, entry in one["policies"].items():
            add(one["shift"], name, "calibration images, on all", one["n"], entry)
        remedy = one["remedy"] or {"n": 0, "thresholds_from": {}}
        for source, entry in remedy["thresholds_from"].items():
            add(one["shift"], "guaranteed", source, remedy["n"], entry)
    return pd.DataFrame(table)


@style.styled
def draw(table: pd.DataFrame, risk: float) -> Figure:
    """Draw the table of `rows`: accuracy on all images; risk, and the promised `risk`, on those that chose nothing."""
    shifts = list(table["shift"].unique())
    figure = style.figure(1.6 + 0.42 * len(shifts))
    left, right = figure.subplots(1, 2, sharey=True)
    whole = table[table["policy"] == WHOLE]
    guaranteed = table[table["policy"] == "guaranteed"]
    _points(left, whole, shifts, "accuracy", WHOLE, -0.15)
    everyone = guaranteed[guaranteed["thresholds_from"] == "calibration images, on all"]
    _points(left, everyone, shifts, "accuracy", "calibration images", 0.15)
    for source, offset in (("calibration images", -0.15), ("the camera", 0.15)):
        _points(right, guaranteed[guaranteed["thresholds_from"] == source], shifts, "risk", source, offset)
    right.axvline(risk, color=style.REFERENCE, ls="--", lw=1, label="promised")
    left.set(xlabel="Accuracy", yticks=range(len(shifts)), yticklabels=_named(whole))
    left.invert_yaxis()
    right.set(xlabel="Risk: wrong where the whole network is right")
    right.set_xlim(left=0)
    for axes in (left, right):
        axes.xaxis.set_major_formatter(style.percent)
    style.headline(left, "Accuracy under shift", "guaranteed policy, INT8; 95 % intervals")
    style.headline(right, "Risk, by where thresholds come from", "on the half of the images that chose none")
    handles, labels = (first + second for first, second in zip(*map(_legend, (left, right)), strict=True))
    shown = dict(zip(labels, handles, strict=True))
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=len(shown))
    return figure


def _named(whole: pd.DataFrame) -> list[str]:
    return [f"{shift}\nn = {n:,}" for shift, n in zip(whole["shift"], whole["n"], strict=True)]


def _points(axes: Axes, own: pd.DataFrame, shifts: list[str], value: str, label: str, offset: float) -> None:
    places = [shifts.index(shift) + offset for shift in own["shift"]]
    shown = label if label == WHOLE else f"thresholds from {label}"
    axes.errorbar(
        own[value],
        places,
        xerr=np.clip(style.whiskers(own, value), 0, None),
        fmt="o",
        ms=4,
        lw=1,
        capsize=2,
        color=_COLOURS[label],
        label=shown,
    )


def _legend(axes: Axes) -> tuple[list[Any], list[Any]]:
    handles, labels = axes.get_legend_handles_labels()
    return list(handles), list(labels)
