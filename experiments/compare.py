"""`python -m experiments.compare NAME LEAF...`: experiments side by side, by the leaves of params.yaml that differ."""

import sys
from collections.abc import Sequence
from typing import Any

from earlyexit.common.files import write_json, write_text
from earlyexit.common.markdown import table
from earlyexit.reports.table1 import TRADES
from experiments.experiments import Experiment, find
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
    classifiers = max((list(entry["classifiers"]) for entry in rows), key=len)
    trades = [f"Speedup at -{loss:.1%}".replace("%", " points") for loss in TRADES.values()]
    heads = [*rows[0]["params"], "INT8 baseline (%)", *(f"{name} (%)" for name in classifiers), *trades]
    heads += ["Flash", "SRAM"]
    n = rows[0]["n"]
    lines = [
        *table(heads, [_cells(entry, classifiers) for entry in rows], labels=len(rows[0]["params"])),
        "",
        f"n = {n} val images; accuracies of the INT8 network's classifiers, each alone. Speedup: the largest "
        "measured one at which the cascade stays within that many points of the INT8 baseline, and its percentile.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write reports/sweeps/NAME.json and .md."""
    sweep, *leaves = sys.argv[1:]
    if not leaves:
        raise ValueError("usage: python -m experiments.compare NAME LEAF..., e.g. positions exits.mobilenet_v2")
    rows = [row(experiment, leaves) for experiment in find(sweep)]
    text = markdown(rows)
    write_json(f"reports/sweeps/{sweep}.json", rows)
    write_text(f"reports/sweeps/{sweep}.md", text)
    print(text)


def _cells(entry: dict[str, Any], classifiers: Sequence[str]) -> list[str]:
    cells = [_plain(value) for value in entry["params"].values()]
    cells.append(f"{100 * entry['baseline']:.2f}")
    cells += [_accuracy(entry["classifiers"].get(name)) for name in classifiers]
    cells += [
        f"{trade['speedup_measured']:.2f}x (p{trade['percentile']})" if trade else "-"
        for trade in entry["trades"].values()
    ]
    return [*cells, f"{entry['flash']:,}", f"{entry['sram']:,}"]


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _accuracy(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return "-"
    return f"{100 * entry['accuracy']:.2f}" + (" (useless)" if entry["useless"] else "")


if __name__ == "__main__":
    run(main)
