"""`python -m experiments.compare NAME LEAF...`: experiments side by side, by the leaves of params.yaml that differ."""

import sys
from collections.abc import Sequence
from typing import Any

from earlyexit.common.markdown import NOTHING, percent, table, thousands, times
from earlyexit.reports.table1 import TRADES
from experiments.finished import Experiment, find, save
from stages import run


def row(experiment: Experiment, leaves: Sequence[str]) -> dict[str, Any]:
    """Return the experiment's leaves, accuracies (INT8, val), best trades and memory."""
    metrics, memory = experiment.report("metrics.json"), experiment.report("memory.json")["early_exit"]
    classifiers = experiment.report("reliability.json")["classifiers"]
    return {
        "params": {leaf: experiment.param(leaf) for leaf in leaves},
        "n": experiment.report("table1.json")[0]["n"],
        "fp32": metrics["fp32"]["accuracy"],
        "baseline": metrics["int8_baseline"]["accuracy"],
        "classifiers": {
            name: {"accuracy": entry["accuracy"]["value"], "macs": entry["macs"], "useless": entry["useless"]}
            for name, entry in classifiers.items()
        },
        "trades": {name: metrics.get(name) for name in TRADES},
        "flash": memory["flash"],
        "sram": memory["sram"],
    }


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    leaves = list(rows[0]["params"])
    classifiers = max((list(entry["classifiers"]) for entry in rows), key=len)
    trades = [f"Speedup at -{100 * loss:.1f} points" for loss in TRADES.values()]
    heads = [*leaves, "INT8 baseline (%)", *(f"{name} (%)" for name in classifiers), *trades, "Flash", "SRAM"]
    note = (
        f"n = {rows[0]['n']} val images; accuracies of the INT8 network's classifiers, each alone. Speedup: the "
        "largest measured one at which the cascade stays within that many points of the INT8 baseline, and its "
        "percentile."
    )
    return "\n".join([*table(heads, [_cells(entry, classifiers) for entry in rows], len(leaves)), "", note]) + "\n"


def main() -> None:
    """Write reports/sweeps/NAME.json and .md.

    Raises:
        ValueError: no LEAF is given, or an experiment lacks it.
    """
    sweep, *leaves = sys.argv[1:]
    if not leaves:
        raise ValueError("usage: python -m experiments.compare NAME LEAF..., e.g. positions exits.mobilenet_v2")
    rows = [row(experiment, leaves) for experiment in find(sweep)]
    save(sweep, rows, markdown(rows))


def _cells(entry: dict[str, Any], classifiers: Sequence[str]) -> list[str]:
    return [
        *(", ".join(map(str, value)) if isinstance(value, list) else str(value) for value in entry["params"].values()),
        percent(entry["baseline"]),
        *(_accuracy(entry["classifiers"].get(name)) for name in classifiers),
        *(
            f"{times(trade['speedup_measured'])} (p{trade['percentile']})" if trade else NOTHING
            for trade in entry["trades"].values()
        ),
        thousands(entry["flash"]),
        thousands(entry["sram"]),
    ]


def _accuracy(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return NOTHING
    return percent(entry["accuracy"]) + (" (useless)" if entry["useless"] else "")


if __name__ == "__main__":
    run(main)
