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

_WAYS = {"pruned": "Pruned, without exits", "exits": "Early exits alone", "both": "Early exits on the pruned network"}


def rows(experiments: Sequence[Experiment]) -> list[dict[str, Any]]:
    """Return for each target and each way to run its networks: accuracy, what it loses and what it saves on val.

    Loss and speedup are against the INT8 baseline of the same seed that was not pruned to a target.

    Returns:
        rows of target (None: not pruned), policy ("baseline": the network without exits), and mean and deviation over
        seeds of accuracy, loss and speedup (estimated cycles of a Cortex-M4).

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


@style.styled
def draw(found: Sequence[dict[str, Any]]) -> Figure:
    """Draw loss against speedup: the pruned baseline, early exits, and early exits on each pruned network."""
    points = pd.DataFrame(
        [
            {
                "target": entry["target"],
                "policy": entry["policy"],
                "speedup": entry["speedup"]["mean"],
                "loss": 100 * entry["loss"]["mean"],
            }
            for entry in found
            if entry["policy"] == ALONE or entry["policy"].startswith(("searched", "guaranteed"))
        ]
    )
    figure = style.figure(4.2)
    axes = figure.subplots()
    alone = points[points["policy"] == ALONE].sort_values("speedup")
    axes.plot(alone["speedup"], -alone["loss"], "s-", color=style.REFERENCE, label=_WAYS["pruned"])
    exits = points[points["policy"] != ALONE].sort_values("speedup")
    unpruned = exits[exits["target"].isna()]
    axes.plot(unpruned["speedup"], -unpruned["loss"], "o-", color=style.OURS, label=_WAYS["exits"])
    for number, (target, some) in enumerate(exits.dropna().groupby("target", sort=False)):
        label = _WAYS["both"] if number == 0 else None
        axes.plot(some["speedup"], -some["loss"], "^--", color=style.PAPER, alpha=0.9, label=label)
        last = some.iloc[-1]
        style.label(axes, f"target {target:g}", (last["speedup"], -last["loss"]), (4, 4), style.PAPER)
    axes.axhline(0, color="0.7", linewidth=0.8)
    axes.set(
        xlabel="Speedup over the unpruned INT8 baseline (Cortex-M4, estimated cycles)", ylabel="Points of accuracy"
    )
    axes.legend()
    style.headline(
        axes, "Pruning, early exits, and both", "INT8, val; policies searched and guaranteed, mean over seeds"
    )
    return figure


def main() -> None:
    """Write reports/sweeps/NAME.json, .md and .png."""
    (sweep,) = sys.argv[1:]
    experiments = find(sweep)
    found = rows(experiments)
    seeds = sorted({int(experiment.param("train.seed")) for experiment in experiments})
    n = experiments[0].report("policies.json")["n"]
    save(sweep, {"seeds": seeds, "n": n, "rows": found}, markdown(found, seeds, n))
    style.save_figure(Path(f"reports/sweeps/{sweep}.png"), draw(found))


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
    }


if __name__ == "__main__":
    run(main)
