"""Draw the trades of every exit policy on val in one picture, with the promised bound."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from earlyexit.evaluation.costs import Costs
from earlyexit.evaluation.per_image import Evaluation
from earlyexit.plots import style
from earlyexit.policy.policies import Policies
from earlyexit.policy.thresholds import Thresholds
from earlyexit.reports.policies import kept

_COLOURS = {"percentile": "#0072b2", "searched": "#d55e00", "guaranteed": "#009e73", "patience": "#cc79a7"}
_TITLES = {
    "percentile": "percentiles 0 to 100",
    "searched": "searched together",
    "guaranteed": "guaranteed",
    "patience": "patience",
}


def trades(
    policies: Policies, thresholds: Thresholds, evaluation: Evaluation, costs: Mapping[str, Costs]
) -> pd.DataFrame:
    """Return loss and speedup of every policy on val.

    Returns:
        a row for each percentile 0..100, each step of the searched path, and each other policy. Columns: kind, name,
        calibration_loss (missing for percentiles), loss, loss_low, loss_high, risk, speedup_macs, speedup_measured,
        speedup_emulated.
    """
    rows: list[dict[str, Any]] = []
    logits = evaluation.int8_early_exit

    def add(kind: str, name: str, row: list[int], patience: int = 0, calibration: float | None = None) -> None:
        found = kept(row, patience, logits, evaluation.labels, costs, labelled=policies.labelled)
        keys = ("loss", "loss_low", "loss_high", "risk", *(f"speedup_{unit}" for unit in costs))
        rows.append({"kind": kind, "name": name, "calibration_loss": calibration, **{key: found[key] for key in keys}})

    for percentile, row in enumerate(thresholds.margins):
        add("percentile", f"p{percentile}", row)
    for number, step in enumerate(policies.path):
        add("searched", f"step {number}", step.thresholds, calibration=step.loss)
    for policy in policies.policies:
        if policy.kind in ("guaranteed", "patience"):
            add(policy.kind, policy.name, policy.thresholds, policy.patience, policy.loss)
    return pd.DataFrame(rows)


@style.styled
def draw(table: pd.DataFrame, policies: Policies, n: int) -> Figure:
    """Draw the table of `trades` over `n` val images: accuracy against the whole network's, and estimated speedup."""
    figure = style.figure(5.2)
    axes = figure.subplots()
    for kind, rows in table.groupby("kind", sort=False):
        _draw_kind(axes, str(kind), rows)
    searched = table[table["kind"] == "searched"]
    axes.plot(
        searched["speedup_emulated"],
        -searched["calibration_loss"],
        ":",
        lw=1,
        color=_COLOURS["searched"],
        label="the same on the calibration images, which chose it",
    )
    axes.axhline(0, color=style.REFERENCE, lw=1, label="whole network: every image to the final exit")
    promised = f"promised: at most {100 * policies.risk:g} points lost, with confidence {1 - policies.delta:.4g}"
    axes.axhline(-policies.risk, color=_COLOURS["guaranteed"], lw=1, ls="--", label=promised)
    axes.set(
        xlabel="Speedup over the INT8 baseline, estimated Cortex-M4 cycles",
        ylabel="Accuracy against the whole network's (points)",
    )
    axes.set_ylim(bottom=max(axes.get_ylim()[0], -6 * max(policies.risk, 0.01)))
    axes.xaxis.set_major_formatter(style.times)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:+g}" if share else "0"))
    style.legend(figure, axes, lambda label: label in _TITLES.values(), 2)
    style.headline(
        axes, "Exit policies", f"INT8 cascade on n = {n:,} val images; whiskers: 95 % interval of the difference"
    )
    return figure


def _draw_kind(axes: Axes, kind: str, rows: pd.DataFrame) -> None:
    colour, title = _COLOURS[kind], _TITLES[kind]
    if kind in ("percentile", "searched"):
        axes.plot(rows["speedup_emulated"], -rows["loss"], lw=1.8, color=colour, label=title)
        return
    whiskers = [rows["loss_high"] - rows["loss"], rows["loss"] - rows["loss_low"]]
    axes.errorbar(
        rows["speedup_emulated"],
        -rows["loss"],
        whiskers,
        fmt="o",
        ms=7,
        mec="white",
        capsize=3,
        color=colour,
        label=title,
    )
    for _, row in rows.iterrows():
        below = kind == "guaranteed"
        style.label(axes, str(row["name"]), (row["speedup_emulated"], -row["loss"]), (0, -18 if below else 9), colour)
