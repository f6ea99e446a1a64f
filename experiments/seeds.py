"""`python -m experiments.seeds NAME`: Table I as mean and standard deviation over experiments of different seeds."""

import statistics
import sys
from collections.abc import Sequence
from typing import Any

from earlyexit.common.files import write_json, write_text
from earlyexit.common.markdown import table
from experiments.experiments import find
from stages import run

CELLS = ("accuracy", "early_exit_rate", "mean_macs", "speedup_macs", "speedup_measured", "speedup_emulated")
Cell = dict[str, float]


def summarize(tables: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the mean and the sample standard deviation of every cell of Table I.

    Args:
        tables: what `earlyexit.table1.rows` returned, one a seed.

    Raises:
        ValueError: fewer than two tables, or they have not the same rows.
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
    rows = []
    for row in summary:
        cells = [row["configuration"], _cell(row["accuracy"], 100), _cell(row["early_exit_rate"], 100)]
        cells += [_cell(share, 100) for share in row["exit_share"] or [None] * exits]
        cells.append(_cell(row["mean_macs"], 1e-6))
        cells += [_cell(row[key]) for key in ("speedup_macs", "speedup_measured", "speedup_emulated")]
        rows.append(cells)
    listed = ", ".join(str(seed) for seed in seeds)
    lines = [
        *table(heads, rows),
        "",
        f"Mean ± sample standard deviation over {len(seeds)} seeds ({listed}); n = {summary[0]['n']} val images.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write reports/sweeps/NAME.json and .md."""
    (sweep,) = sys.argv[1:]
    experiments = find(sweep)
    summary = summarize([experiment.report("table1.json") for experiment in experiments])
    seeds = [experiment.param("train.seed") for experiment in experiments]
    text = markdown(summary, seeds)
    write_json(f"reports/sweeps/{sweep}.json", {"seeds": seeds, "rows": summary})
    write_text(f"reports/sweeps/{sweep}.md", text)
    print(text)


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
    if len(numbers) < len(values):
        return None
    return {"mean": statistics.fmean(numbers), "sd": statistics.stdev(numbers)}


def _cell(cell: Cell | None, factor: float = 1) -> str:
    return f"{factor * cell['mean']:.2f} ± {factor * cell['sd']:.2f}" if cell else "-"


if __name__ == "__main__":
    run(main)
