"""`python -m experiments.prune NAME`: what pruning to a budget brings, what early exits bring, and both together."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from earlyexit.common.markdown import table
from earlyexit.plots import style
from experiments.finished import Experiment, find, save
from experiments.seeds import cell, over, spread
from stages import run

ALONE = "baseline"
"""The row of a network without exits."""

CONTROL = 0.99
"""A target that removes next to nothing: what the training after pruning brings by itself."""

_NO_EXITS = "pruned (prune.target), without exits"
_EXITS = "early exits alone"
_TRAINED_ON = f"early exits alone, baseline trained on (target {CONTROL:g})"
_BOTH = "both: the best of the other targets"


def rows(experiments: Sequence[Experiment]) -> list[dict[str, Any]]:
    """Return for each target and each way to run its networks: accuracy, what it loses and what it saves on val.

    Loss and speedup are against the INT8 baseline of the same seed that was not pruned to a target.

    Returns:
        rows of target (None: not pruned), policy ("baseline": the network without exits), and mean and deviation over
        seeds of accuracy, loss, speedup and cycles (of a Cortex-M4, as a share of that baseline's).

    Raises:
        ValueError: a seed has no experiment without a target.
    """
    found = [_run(experiment) for experiment in experiments]
    whole = {entry["seed"]: entry for entry in found if entry["target"] is None}
    if missing := {entry["seed"] for entry in found} - whole.keys():
        raise ValueError(f"no experiment with prune.target: null for train.seed {', '.join(map(str, sorted(missing)))}")
    targets = sorted({entry["target"] for entry in found}, key=lambda target: -(target or 1))
    return [
        _row(target, policy, [(entry, whole[entry["seed"]]) for entry in found if entry["target"] == target])
        for target in targets
        for policy in next(entry for entry in found if entry["target"] == target)["policies"]
    ]


def markdown(found: Sequence[dict[str, Any]], seeds: Sequence[int], n: int) -> str:
    """Return the rows as a Markdown table."""
    heads = ["prune.target", "Policy", "Val Acc. (%)", "Loss", "Speedup (Cortex-M4, estimated)"]
    cells = [
        [
            "-" if entry["target"] is None else f"{entry['target']:g}",
            "no exits" if entry["policy"] == ALONE else entry["policy"],
            cell(entry["accuracy"], 100),
            cell(entry["loss"], 100),
            f"{cell(entry['speedup'])}x",
        ]
        for entry in found
    ]
    note = (
        "Loss in points, and speedup in cycles, against the INT8 baseline that is not pruned. "
        f"{over(seeds).capitalize()}; n = {n:,} val images."
    )
    return "\n".join([*table(heads, cells, labels=2), "", note]) + "\n"


def front(points: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `points` that none beats: any other that costs no more is less accurate.

    Args:
        points: columns cycles and accuracy.
    """
    ordered = points.sort_values(["cycles", "accuracy"], ascending=[True, False])
    return ordered[ordered["accuracy"] > ordered["accuracy"].cummax().shift(fill_value=-1)]


@style.styled
def draw(found: Sequence[dict[str, Any]], seeds: Sequence[int], n: int) -> Figure:
    """Draw accuracy against cycles: pruned baselines, early exits, and the best of early exits on pruned networks.

    Bars are the deviations of the loss, which is against the same seed's baseline.
    """
    points = pd.DataFrame(
        [
            {
                "target": entry["target"],
                "policy": entry["policy"],
                "cycles": entry["cycles"]["mean"],
                "accuracy": entry["accuracy"]["mean"],
                "deviation": entry["loss"].get("sd", 0),
            }
            for entry in found
            if entry["policy"] == ALONE or entry["policy"].startswith(("searched", "guaranteed"))
        ]
    )
    alone, exits = (rows for _, rows in points.groupby(points["policy"] != ALONE))
    on_pruned = exits[exits["target"] < CONTROL]
    figure = style.figure(4.2)
    axes = figure.subplots()
    axes.plot(on_pruned["cycles"], on_pruned["accuracy"], "^", color=style.PAPER, alpha=0.35, markersize=4)
    curves = [
        (_NO_EXITS, alone, "s-", style.REFERENCE),
        (_EXITS, exits[exits["target"].isna()], "o-", style.OURS),
        (_TRAINED_ON, exits[exits["target"] == CONTROL], "o:", style.OURS),
        (_BOTH, front(on_pruned), "^-", style.PAPER),
    ]
    for label, rows, shape, colour in curves:
        if len(rows):
            rows = rows.sort_values("cycles")
            axes.errorbar(rows["cycles"], rows["accuracy"], rows["deviation"], fmt=shape, color=colour, label=label)
    for target, cycles, accuracy in alone.dropna()[["target", "cycles", "accuracy"]].to_numpy():
        style.label(axes, f"{target:g}", (cycles, accuracy), (16, 3), style.REFERENCE)
    axes.set(xlabel="Cycles of an image, share of the unpruned INT8 baseline's (Cortex-M4)", ylabel="Val accuracy")
    axes.xaxis.set_major_formatter(style.percent)
    axes.yaxis.set_major_formatter(style.percent)
    axes.legend()
    subtitle = f"INT8, n = {n:,}; policies searched and guaranteed; {over(seeds)}"
    style.headline(axes, "Pruning, early exits, and both", subtitle)
    return figure


def main() -> None:
    """Write reports/sweeps/NAME.json, .md and .png."""
    (sweep,) = sys.argv[1:]
    experiments = find(sweep)
    found = rows(experiments)
    seeds = sorted({int(experiment.param("train.seed")) for experiment in experiments})
    n = experiments[0].report("policies.json")["n"]
    save(sweep, {"seeds": seeds, "n": n, "rows": found}, markdown(found, seeds, n))
    style.save_figure(Path(f"reports/sweeps/{sweep}.png"), draw(found, seeds, n))


def _run(experiment: Experiment) -> dict[str, Any]:
    """Return what one experiment found; cycles of its own baseline are `cycles`."""
    policies = experiment.report("policies.json")["policies"]
    kept = {policy["name"]: (policy["val"]["accuracy"], policy["val"]["speedup_emulated"]) for policy in policies}
    return {
        "seed": experiment.param("train.seed"),
        "target": experiment.param("prune.target"),
        "cycles": experiment.report("emulated.json")["baseline"]["cycles"],
        "policies": {ALONE: (experiment.report("metrics.json")["int8_baseline"]["accuracy"], 1.0), **kept},
    }


def _row(target: float | None, policy: str, pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """Return one row; `pairs`: for each seed the run, and the run that was not pruned."""
    results = [(*run["policies"][policy], run["cycles"], whole) for run, whole in pairs]
    return {
        "target": target,
        "policy": policy,
        "accuracy": spread([accuracy for accuracy, *_ in results]),
        "loss": spread([whole["policies"][ALONE][0] - accuracy for accuracy, *_, whole in results]),
        "speedup": spread([speedup * whole["cycles"] / cycles for _, speedup, cycles, whole in results]),
        "cycles": spread([cycles / whole["cycles"] / speedup for _, speedup, cycles, whole in results]),
    }


if __name__ == "__main__":
    run(main)
