"""Draw the layers at which INT8 loses precision."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from earlyexit.plots import style

_KINDS = {"CONV_2D": "convolution", "DEPTHWISE_CONV_2D": "depthwise", "ADD": "addition"}
_OTHER = "pooling, dense"
_MARKERS = {"convolution": "o", "depthwise": "^", "addition": "D", _OTHER: "s"}
# A zero point of -128 means that no output is negative.
_SIGNS = {"a layer alone, output ≥ 0": style.REFERENCE, "a layer alone, output of both signs": style.PAPER}
_LINE: dict[str, Any] = {"marker": ".", "ms": 5, "lw": 1.4, "color": style.OURS}


@style.styled
def draw(table: pd.DataFrame) -> Figure:
    """Draw the rows of `quantization.layer_error.table`."""
    figure = style.figure(4.6)
    axes = figure.subplots()
    _shade(axes, table)
    _draw_alone(axes, table)
    _draw_network(axes, table)
    axes.set(
        xlim=(0.5, len(table) + 0.5), xlabel="Layer, in order of execution", ylabel="Signal over INT8's error (SQNR)"
    )
    axes.margins(y=0.14)
    axes.grid(visible=False, axis="x")
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} dB"))
    figure.legend(handles=_handles(), loc="outside lower center", ncols=4)
    subtitle = f"output of every layer, INT8 against FP32, n = {table['images'].iloc[0]:,} calibration images"
    style.headline(axes, "Where INT8 loses precision", subtitle)
    return figure


def _shade(axes: Axes, table: pd.DataFrame) -> None:
    """Shade every other segment and name each by its classifier."""
    for place, (_, rows) in enumerate(table.groupby("segment")):
        first, last = rows["layer"].iloc[0] - 0.5, rows["layer"].iloc[-1] + 0.5
        shade = "0.95" if place % 2 else "white"
        axes.axvspan(first, last, color=shade, lw=0, zorder=0)
        axes.annotate(
            rows["classifier"].iloc[0],
            ((first + last) / 2, 1),
            (0, -5),
            ("data", "axes fraction"),
            "offset points",
            ha="center",
            va="top",
            color="0.35",
            fontsize=8.5,
            bbox={"fc": shade, "ec": "none", "pad": 1},
        )


def _draw_alone(axes: Axes, table: pd.DataFrame) -> None:
    markers = table["operator"].map(lambda name: _MARKERS[_KINDS.get(name, _OTHER)])
    colours = (table["zero_point"] > -128).map(dict(zip((False, True), _SIGNS.values(), strict=True)))
    for (marker, colour), rows in table.groupby([markers, colours]):
        axes.plot(rows["layer"], rows["sqnr_alone"], str(marker), ms=4.5, mew=0, color=str(colour))


def _draw_network(axes: Axes, table: pd.DataFrame) -> None:
    backbone = table[~table["head"]]
    axes.plot(backbone["layer"], backbone["sqnr"], "-", **_LINE)
    for _, rows in table.groupby("segment"):
        path = pd.concat([rows[~rows["head"]].tail(1), rows[rows["head"]]])
        axes.plot(path["layer"], path["sqnr"], ":", **_LINE)


def _handles() -> list[Line2D]:
    dot: dict[str, Any] = {"ls": "", "ms": 5, "mew": 0}
    return [
        Line2D([], [], ls="-", label="the network up to a layer", **_LINE),
        Line2D([], [], ls=":", label="the same, in an exit's head", **_LINE),
        *(Line2D([], [], marker="o", color=colour, label=label, **dot) for label, colour in _SIGNS.items()),
        *(Line2D([], [], marker=marker, color="0.3", label=label, **dot) for label, marker in _MARKERS.items()),
    ]
