"""The common look of all figures, and files whose bytes depend on nothing but their content."""

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import matplotlib
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter

# Okabe and Ito's colours, which people with any colour vision can tell apart.
OURS = "#0072b2"
PAPER = "#d55e00"
RIGHT = "#0072b2"
WRONG = "#d55e00"
REFERENCE = "#666666"

DPI = 130
WIDTH = 7.5

_LOOK = {
    **sns.axes_style("whitegrid"),
    **sns.plotting_context("paper"),
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.title_fontsize": 8.5,
    "legend.framealpha": 0.9,
    "axes.edgecolor": "0.6",
    "grid.color": "0.9",
    "axes.spines.top": False,
    "axes.spines.right": False,
}

P = ParamSpec("P")
R = TypeVar("R")

percent = FuncFormatter(lambda value, _: share(value, None))
times = FuncFormatter(lambda ratio, _: f"{ratio:g}×")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Make a function draw in the common look, whatever the settings of the process."""

    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_LOOK)
            return draw(*args, **kwargs)

    return inside


def figure(height: float) -> Figure:
    """Return an empty figure of the common width and of `height` inches, drawn by Agg."""
    empty = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(empty)
    return empty


def colours(classifiers: Sequence[str]) -> dict[str, str]:
    """Return a colour for each classifier, from light to dark: exits have an order, and so does lightness."""
    shades = sns.color_palette("viridis_r", len(classifiers))
    return {name: to_hex(shade) for name, shade in zip(classifiers, shades, strict=True)}


def ink(colour: str) -> str:
    """Return black or white, whichever is legible on `colour`."""
    red, green, blue = matplotlib.colors.to_rgb(colour)
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.45 else "black"


def share(value: float, digits: int | None = 0) -> str:
    """Return a share in percent, with `digits` decimals, or with as many as needed if `digits` is None."""
    return f"{100 * value:g} %" if digits is None else f"{100 * value:.{digits}f} %"


def label(axes: Axes, text: str, place: tuple[float, float], offset: tuple[int, int], colour: str) -> None:
    """Write bold `text` at an offset from `place`, in points, with a white rim that sets it off from lines."""
    axes.annotate(
        text,
        place,
        offset,
        textcoords="offset points",
        ha="center",
        color=colour,
        fontsize=8.5,
        fontweight="bold",
        path_effects=[withStroke(linewidth=3, foreground="white")],
    )


def title(drawn: Figure, text: str) -> None:
    """Write a bold line above all axes of a figure."""
    drawn.suptitle(text, x=0.01, ha="left", fontsize=10, weight="bold")


def headline(axes: Axes, title: str, subtitle: str) -> None:
    """Write a bold line above the axes, and a plain one below it."""
    axes.set_title(title, pad=18)
    axes.annotate(subtitle, (0, 1), (0, 5), "axes fraction", "offset points", fontsize=8.5, color="0.35")


def whiskers(table: pd.DataFrame, value: str) -> "list[pd.Series[float]]":
    """Return the lengths of error bars, from the columns `value`, `value`_low and `value`_high."""
    return [table[value] - table[f"{value}_low"], table[f"{value}_high"] - table[value]]


def legend(drawn: Figure, axes: Axes, first: Callable[[str], bool], columns: int) -> None:
    """Put the legend of `axes` below the figure, first the labels that `first` accepts."""
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: not first(labels[i]))
    drawn.legend([handles[i] for i in order], [labels[i] for i in order], loc="outside lower center", ncols=columns)


@styled
def save_figure(path: Path, drawn: Figure) -> None:
    """Write a PNG without matplotlib's version in it."""
    drawn.savefig(path, format="png", metadata={"Software": None})


def save_table(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV with six significant digits; missing values are NaN, because `dvc plots` reads an empty cell as 0."""
    table.to_csv(path, index=False, na_rep="NaN", float_format="%.6g", lineterminator="\n")
