"""`python -m experiments.seeds NAME`: Table I as mean and standard deviation over experiments of different seeds."""

import statistics
import sys
from collections.abc import Sequence
from typing import Any

from earlyexit.common.markdown import NOTHING, table
from experiments.finished import find, save
from stages import run

CELLS = ("accuracy", "early_exit_rate", "mean_macs", "speedup_macs", "speedup_measured", "speedup_emulated")
Cell = dict[str, float]


def summarize(tables: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the mean and the sample standard deviation of every cell of Table I.

    Args:
        tables: for each seed, what `earlyexit.reports.table1.rows` returned.

    Raises:
        ValueError: fewer than two tables, or their rows differ.
    """
    if len(tables) < 2:
        raise ValueError(f"a standard deviation needs two experiments, not {len(tables)}")
    names = [[row["configuration"] for row in table] for table in tables]
    if any(other != names[0] for other in names):
        raise ValueError(f"the experiments have different rows in Table I: {names}")
    return [_row(rows) for rows in zip(*tables, strict=True)]


def markdown(summary: Sequence[dict[str, Any]], seeds: Sequence[int]) -> str:
    """Return `summary` as a Markdown table."""
    exits = max(len(row["exit_share"] or []) for row in summary)
    shares = [f"Exit {i + 1} (%)" for i in range(exits - 1)] + ["Final (%)"]
    heads = ["Model Conf.", "Val Acc. (%)", "EE Rate (%)", *shares, "Mean MACs (M)", "Speedup (MACs)"]
    heads += ["Speedup (measured)", "Speedup (Cortex-M4)"]
    rows = [
        [
            row["configuration"],
            _cell(row["accuracy"], 100),
            _cell(row["early_exit_rate"], 100),
            *(_cell(share, 100) for share in row["exit_share"] or [None] * exits),
            _cell(row["mean_macs"], 1e-6),
            *(_cell(row[key]) for key in ("speedup_macs", "speedup_measured", "speedup_emulated")),
        ]
        for row in summary
    ]
    listed = ", ".join(map(str, seeds))
    note = f"Mean ± sample standard deviation over {len(seeds)} seeds ({listed}); n = {summary[0]['n']} val images."
    return "\n".join([*table(heads, rows), "", note]) + "\n"


def main() -> None:
    """Write reports/sweeps/NAME.json and .md."""
    (sweep,) = sys.argv[1:]
    experiments = find(sweep)
    summary = summarize([experiment.report("table1.json") for experiment in experiments])
    seeds = [experiment.param("train.seed") for experiment in experiments]
    save(sweep, {"seeds": seeds, "rows": summary}, markdown(summary, seeds))


def _row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    shares = [row["exit_share"] for row in rows]
    return {
        "configuration": rows[0]["configuration"],
        "n": rows[0]["n"],
        **{key: _spread([row[key] for row in rows]) for key in CELLS},
        "exit_share": [_spread(values) for values in zip(*shares, strict=True)] if None not in shares else None,
    }


def _spread(values: Sequence[float | None]) -> Cell | None:
    numbers = [value for value in values if value is not None]
    whole = len(numbers) == len(values)
    return {"mean": statistics.fmean(numbers), "sd": statistics.stdev(numbers)} if whole else None


def _cell(cell: Cell | None, factor: float = 1) -> str:
    return f"{factor * cell['mean']:.2f} ± {factor * cell['sd']:.2f}" if cell else NOTHING


if __name__ == "__main__":
    run(main)
