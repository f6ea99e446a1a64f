"""Draw loss and accuracy over the three stages of training."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from earlyexit.plots import style

METRICS = Path("plots/metrics")
STAGES = {
    "baseline": ("Baseline", "cross-entropy"),
    "disjoint": ("Stage A: exits alone", "sum over the exits"),
    "joint": ("Stage B: all", "weighted sum, Eq. 1"),
}
_KEYS = ["stage", "epoch", "step"]


def read(logs: Mapping[str, Path]) -> pd.DataFrame:
    """Return the metrics that dvclive logged.

    Args:
        logs: dvclive's folder for each stage of `STAGES`.

    Returns:
        a row for each epoch, in the order of the stages; epoch 0 if a stage trained nothing. Columns: stage, epoch,
        step (epochs of all stages so far), and one for each metric: train_loss, train_exit1, calibration_exit1, ...;
        missing if the stage does not log it.

    Raises:
        FileNotFoundError: a folder holds no metrics.
        ValueError: a file of metrics has other columns than dvclive's.
    """
    table = pd.concat([_read_stage(stage, folder) for stage, folder in logs.items()], ignore_index=True)
    table.insert(2, "step", range(1, len(table) + 1))
    if "train_loss" not in table:  # no stage had an epoch
        table["train_loss"] = math.nan
    return table


@style.styled
def draw(table: pd.DataFrame, names: Sequence[str], train: int, calibration: int) -> Figure:
    """Draw the table of `read`.

    Args:
        table: metrics of each epoch.
        names: of the classifiers, the final one's last.
        train, calibration: images of the splits.
    """
    stages = list(table["stage"].unique())
    widths = [max(int((table["stage"] == stage).sum()), 4) for stage in stages]
    figure = style.figure(5)
    panels = figure.subplots(
        2, len(stages), squeeze=False, sharey="row", sharex="col", width_ratios=widths, height_ratios=[2, 1]
    )
    colours = style.colours(names)
    for (above, below), stage in zip(panels.T, stages, strict=True):
        rows = table[table["stage"] == stage]
        long = rows.melt("epoch", [c for c in rows if c not in (*_KEYS, "train_loss")], "metric", "accuracy").dropna()
        long[["split", "classifier"]] = long["metric"].str.split("_", n=1, expand=True)
        look = {"x": "epoch", "estimator": None, "legend": False, "marker": ".", "markeredgewidth": 0}
        sns.lineplot(
            long,
            y="accuracy",
            hue="classifier",
            palette=colours,
            style="split",
            style_order=["calibration", "train"],
            ax=above,
            **look,
        )
        sns.lineplot(rows, y="train_loss", color="black", ax=below, **look)
        title, loss = STAGES[stage]
        above.set_title(title, fontsize=9, fontweight="normal")
        below.set_title(loss, fontsize=8.5, fontweight="normal", color="0.35")
        above.yaxis.set_major_formatter(style.percent)
        below.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        if rows["epoch"].nunique() == 1:
            below.set_xlim(rows["epoch"].iloc[0] - 1, rows["epoch"].iloc[0] + 1)
        above.set_ylabel("Accuracy")
        below.set(xlabel="Epoch", ylabel="Training loss")
    handles = [Line2D([], [], color=colour, lw=2, label=name) for name, colour in colours.items()]
    handles += [
        Line2D([], [], color="0.3", ls=ls, label=label) for ls, label in (("-", "calibration"), ("--", "train"))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    style.title(figure, f"Training on n = {train:,} images, watched on {calibration:,} of the calibration split")
    return figure


def _read_stage(stage: str, folder: Path) -> pd.DataFrame:
    paths = sorted((folder / METRICS).rglob("*.tsv"))
    if not paths:
        raise FileNotFoundError(f"{folder / METRICS}: no metrics of training; the {stage} stage writes them")
    columns = {"_".join(path.relative_to(folder / METRICS).with_suffix("").parts): _read_metric(path) for path in paths}
    table = pd.DataFrame(columns).rename_axis("epoch").reset_index()
    table.insert(0, "stage", stage)
    return table


def _read_metric(path: Path) -> "pd.Series[float]":
    table = pd.read_csv(path, sep="\t")
    if list(table.columns) != ["step", path.stem]:
        raise ValueError(f"{path}: columns step and {path.stem} expected, found {', '.join(table.columns)}")
    return table.set_index("step")[path.stem]
