"""`python -m experiments.seeds NAME`: Table I as mean and standard deviation over experiments of different seeds."""

import statistics
import sys
from collections.abc import Sequence
from typing import Any

from earlyexit.common.markdown import NOTHING, table
from earlyexit.reports.table1 import UNPRUNED
from experiments.finished import find, save
from stages import run

CELLS = ("accuracy", "early_exit_rate", "mean_macs", "speedup_macs", "speedup_measured", "speedup_emulated")
Cell = dict[str, float]


def summarize(tables: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the mean and the sample standard deviation of every cell of Table I.

    The row of the unpruned baseline is left out unless pruning changed the baseline of every seed.

    Args:
        tables: for each seed, what `earlyexit.reports.table1.rows` returned.

    Raises:
        ValueError: fewer than two tables, or their rows differ.
    """
    if len(tables) < 2:
        raise ValueError(f"a standard deviation needs two experiments, not {len(tables)}")
    names = [[row["configuration"] for row in table] for table in tables]
    if not all(UNPRUNED in found for found in names):
        tables = [[row for row in table if row["configuration"] != UNPRUNED] for table in tables]
        names = [[row["configuration"] for row in table] for table in tables]
    if any(other != names[0] for other in names):
        raise ValueError(f"the experiments have different rows in Table I: {names}")
    return [_row(rows) for rows in zip(*tables, strict=True)]


def markdown(summary: Sequence[dict[str, Any]], seeds: Sequence[int]) -> str:
    """Return `summary` as a Markdown table."""
    heads = ["Model Conf.", "Val Acc. (%)", "EE Rate (%)", "Mean MACs (M)", "Speedup (MACs)", "Speedup (measured)"]
    heads += ["Speedup (Cortex-M4, estimated)"]
    rows = [
        [
            row["configuration"],
            cell(row["accuracy"], 100),
            cell(row["early_exit_rate"], 100),
            cell(row["mean_macs"], 1e-6),
            *(cell(row[key]) for key in ("speedup_macs", "speedup_measured", "speedup_emulated")),
        ]
        for row in summary
    ]
    note = f"{over(seeds).capitalize()}; n = {summary[0]['n']} val images."
    return "\n".join([*table(heads, rows), "", note]) + "\n"


def summarize_policies(reports: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return for each exit policy the mean and the sample standard deviation of what it lost and gained.

    Args:
        reports: reports/policies.json of each seed.

    Returns:
        a row for each policy: name, loss on the calibration images and on val, their difference (what the choice
        overfits the calibration images by), risk on val, speedup_emulated.
    """
    rows = []
    for entries in zip(*(report["policies"] for report in reports), strict=True):
        lost = {split: [entry[split]["loss"] for entry in entries] for split in ("calibration", "val")}
        rows.append(
            {
                "name": entries[0]["name"],
                "calibration_loss": spread(lost["calibration"]),
                "loss": spread(lost["val"]),
                "overfit": spread([val - own for own, val in zip(*lost.values(), strict=True)]),
                "risk": spread([entry["val"]["risk"] for entry in entries]),
                "speedup_emulated": spread([entry["val"]["speedup_emulated"] for entry in entries]),
            }
        )
    return rows


def policies_markdown(summary: Sequence[dict[str, Any]], seeds: Sequence[int], n: tuple[int, int]) -> str:
    """Return the rows of `summarize_policies` as a Markdown table; `n` are the calibration and the val images."""
    heads = [
        "Policy",
        "Loss, calibration",
        "Loss, val",
        "Val minus calibration",
        "Risk, val (%)",
        "Speedup (Cortex-M4)",
    ]
    keys = ("calibration_loss", "loss", "overfit", "risk")
    rows = [[row["name"], *(cell(row[key], 100) for key in keys), cell(row["speedup_emulated"])] for row in summary]
    note = (
        f"Loss in points against the whole network. {over(seeds).capitalize()}; n = {n[0]:,} calibration and "
        f"{n[1]:,} val images, the same for all seeds."
    )
    return "\n".join([*table(heads, rows), "", note]) + "\n"


def main() -> None:
    """Write reports/sweeps/NAME.json and .md, and the same of the exit policies as NAME_policies."""
    (sweep,) = sys.argv[1:]
    experiments = find(sweep)
    summary = summarize([experiment.report("table1.json") for experiment in experiments])
    seeds = [experiment.param("train.seed") for experiment in experiments]
    save(sweep, {"seeds": seeds, "rows": summary}, markdown(summary, seeds))
    reports = [experiment.report("policies.json") for experiment in experiments]
    rows = summarize_policies(reports)
    text = policies_markdown(rows, seeds, (reports[0]["calibration"]["n"], reports[0]["n"]))
    save(f"{sweep}_policies", {"seeds": seeds, "rows": rows}, text)


def _row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "configuration": rows[0]["configuration"],
        "n": rows[0]["n"],
        **{key: spread([row[key] for row in rows]) for key in CELLS},
    }


def spread(values: Sequence[float | None]) -> Cell | None:
    """Return the mean and, of two values or more, the sample standard deviation; None if a value is missing."""
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return None
    deviation = {"sd": statistics.stdev(numbers)} if len(numbers) > 1 else {}
    return {"mean": statistics.fmean(numbers), **deviation}


def cell(found: Cell | None, factor: float = 1, sign: str = "") -> str:
    """Return a mean and its deviation as they stand in a table; `sign` is + where the mean is a difference."""
    if found is None:
        return NOTHING
    deviation = f" ± {factor * found['sd']:.2f}" if "sd" in found else ""
    mean = round(factor * found["mean"], 2) + 0.0  # no -0.00
    return f"{mean:{sign}.2f}{deviation}"


def over(seeds: Sequence[int]) -> str:
    """Return for the note under a table what its cells are: of one run, or means over several."""
    if len(seeds) == 1:
        return f"one run (seed {seeds[0]})"
    listed = ", ".join(map(str, seeds))
    return f"mean ± sample standard deviation over {len(seeds)} seeds ({listed})"


if __name__ == "__main__":
    run(main)
