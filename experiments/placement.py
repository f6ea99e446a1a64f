"""`python -m experiments.placement NAME`: given exits against searched ones, after full training, seed by seed."""

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from earlyexit.common.files import replacing
from earlyexit.common.markdown import bold, percent, table, times
from experiments.finished import Experiment, find, save
from stages import run

POLICIES = {"searched_0": 0.0, "searched_0.005": 0.005}
"""The exit policies that both are judged by, with the accuracy that each may lose on the calibration images."""

_KEYS = ("accuracy", "loss", "speedup_emulated")


def row(experiment: Experiment) -> dict[str, Any]:
    """Return the experiment's exits, and what the policies do with them on val."""
    placed, report = experiment.report("placement.json"), experiment.report("policies.json")
    by_name = {policy["name"]: policy["val"] for policy in report["policies"]}
    chosen = placed.get("chosen", placed)
    return {
        "seed": experiment.param("train.seed"),
        "placement": placed["placement"],
        "exits": chosen["exits"],
        "head": chosen["head"],
        "predicted": chosen.get("speedup"),
        "n": report["n"],
        "whole": report["whole"]["accuracy"],
        "policies": {name: {key: by_name[name][key] for key in _KEYS} for name in POLICIES},
    }


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table, seed by seed, and the mean of either placement."""
    heads = ["Seed", "Placement", "Exits after", "Head", "Whole network (%)"]
    for loss in POLICIES.values():
        heads += [f"Acc., allowed loss {100 * loss:g} (%)", "Loss", "Speedup (Cortex-M4)"]
    ordered = sorted(rows, key=lambda entry: (entry["seed"], entry["placement"]))
    means = [
        _mean(placement, [entry for entry in ordered if entry["placement"] == placement])
        for placement in dict.fromkeys(entry["placement"] for entry in ordered)
    ]
    note = (
        f"INT8, n = {rows[0]['n']:,} val images. Thresholds are searched together on the calibration images, where "
        "they may lose that many points against the whole network. Loss: what they lose on val, in points. Speedup "
        "over the INT8 baseline, in estimated cycles."
    )
    return "\n".join([*table(heads, [*map(_cells, ordered), *means], labels=4), "", note]) + "\n"


def main() -> None:
    """Write reports/sweeps/NAME_BACKBONE.json and .md; with _sets, the search of the first seed and its figure."""
    (sweep,) = sys.argv[1:]
    experiments = find(sweep)
    rows = [row(experiment) for experiment in experiments]
    name = f"{sweep}_{experiments[0].param('model.backbone')}"
    save(name, rows, markdown(rows))
    searched = [one for one, entry in zip(experiments, rows, strict=True) if entry["placement"] == "searched"]
    first = min(searched, key=lambda one: int(one.param("train.seed")))
    save(f"{name}_sets", first.report("placement.json"), first.read("reports/placement.md").decode())
    with replacing(Path(f"reports/sweeps/{name}_sets.png")) as part:
        part.write_bytes(first.read("reports/plots/placement.png"))


def _cells(entry: dict[str, Any]) -> list[str]:
    cells = [str(entry["seed"]), entry["placement"], ", ".join(entry["exits"]), entry["head"], percent(entry["whole"])]
    for kept in entry["policies"].values():
        cells += [percent(kept["accuracy"]), percent(kept["loss"]), times(kept["speedup_emulated"])]
    return cells


def _mean(placement: str, rows: Sequence[dict[str, Any]]) -> list[str]:
    cells = [bold("mean"), placement, "", "", percent(statistics.fmean(entry["whole"] for entry in rows))]
    for name in POLICIES:
        mean = {key: statistics.fmean(entry["policies"][name][key] for entry in rows) for key in _KEYS}
        cells += [percent(mean["accuracy"]), percent(mean["loss"]), times(mean["speedup_emulated"])]
    return cells


if __name__ == "__main__":
    run(main)
