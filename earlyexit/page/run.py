"""The reports of one run, read and held against each other."""

import csv
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from earlyexit.page import record
from earlyexit.reports import failures
from earlyexit.reports.table1 import WHOLE

RECORD = "reports/run.json"
# Each other report with the stage that writes it.
JSON = {
    "table1": "table1",
    "policies": "policies",
    "memory": "memory",
    "reliability": "reliability",
    "failures": "failures",
    "shift": "shift",
    "emulated": "emulate",
}
TABLES = {
    "frontier": "plots",
    "plots/reliability": "plots",
    "plots/learning_curves": "plots",
    "plots/layer_error": "plots",
}
PARAMS = "params.yaml"
STAGES = (
    {PARAMS: "report"}
    | {f"reports/{name}.json": stage for name, stage in JSON.items()}
    | {f"reports/{name}.csv": stage for name, stage in TABLES.items()}
)


@dataclass(frozen=True)
class Run:
    """A run's params and reports.

    Attributes:
        name: for legends; empty where there is one run.
        params: params.yaml.
        record: content of reports/run.json: what `record.record` returned, its origin, and the hashes of the reports.
        reports: content of the other JSON reports, by name without ending.
        tables: rows of the CSV reports, by name without ending; numbers as floats.
    """

    name: str
    params: dict[str, Any]
    record: dict[str, Any]
    reports: dict[str, Any]
    tables: dict[str, list[dict[str, Any]]]

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """The rows of Table I by configuration."""
        return {row["configuration"]: row for row in self.reports["table1"]}

    @property
    def policies(self) -> dict[str, dict[str, Any]]:
        """The exit policies by name."""
        return {policy["name"]: policy for policy in self.reports["policies"]["policies"]}


def read(name: str, content: Callable[[str], bytes]) -> Run:
    """Read a run's params and reports.

    Args:
        name: of the run.
        content: returns a file's content by its path in the repository.

    Raises:
        ValueError: a report is missing, is damaged, or is of another run than the others; names the stage to run.
    """
    run = Run(
        name,
        _params(content),
        _json(content, RECORD, "report"),
        {key: _json(content, f"reports/{key}.json", stage) for key, stage in JSON.items()},
        {key: _table(content, f"reports/{key}.csv", stage) for key, stage in TABLES.items()},
    )
    for path, digest in hashes(content).items():
        if run.record.get("sha256", {}).get(path) != digest:
            raise _of_another_run(path, STAGES[path])
    check(run)
    return run


def hashes(content: Callable[[str], bytes]) -> dict[str, str]:
    """Return the SHA-256 of params.yaml and of each report but run.json, which keeps them, by path.

    Of params.yaml the values count, not their layout and comments.

    Args:
        content: returns a file's content by its path in the repository.

    Raises:
        ValueError: a file is missing or damaged; names the stage to run.
    """
    found = {path: _content(content, path, stage) for path, stage in STAGES.items() if path != PARAMS}
    found[PARAMS] = json.dumps(leaves(_params(content)), sort_keys=True).encode()
    return {path: hashlib.sha256(found[path]).hexdigest() for path in sorted(found)}


def check(run: Run) -> None:
    """Verify that all reports are of one run: that they agree on what several of them say.

    Hashes show whether a report was replaced later. This shows whether they fitted when their hashes were taken.

    Raises:
        ValueError: one differs from reports/run.json; names it and the stage to run.
    """
    found = run.record
    try:
        labels, answers, margins = record.unpacked(found)
    except ValueError as error:
        raise ValueError(f"{RECORD}: {error}; run `dvc repro report`") from None
    whole, right = float(np.mean(answers[-1] == labels)), (answers == labels).mean(1)
    rows, policies, percentiles = run.rows, run.policies.values(), found["percentiles"]

    def leave(thresholds: list[int]) -> float:
        early: np.ndarray = margins[:-1] > np.array(thresholds)[:, None]
        return float(early.any(0).mean())

    def agree(rates: list[tuple[float, list[int]]]) -> bool:
        if any(len(thresholds) != len(margins) - 1 for _, thresholds in rates):
            return False
        # Reports round to six digits.
        return all(abs(rate - leave(thresholds)) < 1e-5 for rate, thresholds in rates)

    fits = {
        "reports/table1.json": rows[WHOLE]["accuracy"] == whole
        and rows[WHOLE]["n"] == found["n"]
        and agree(
            [(row["early_exit_rate"], percentiles[int(name[1:])]) for name, row in rows.items() if name[0] == "p"]
        ),
        "reports/policies.json": run.reports["policies"]["whole"]["accuracy"] == whole
        and agree([(one["val"]["early_exit_rate"], one["thresholds"]) for one in policies if not one["patience"]]),
        "reports/emulated.json": [entry["cycles_until"] for entry in run.reports["emulated"]["segments"].values()]
        == found["costs"]["emulated"]["until"],
        "reports/reliability.json": [
            entry["accuracy"]["value"] for entry in run.reports["reliability"]["classifiers"].values()
        ]
        == right.tolist(),
        "reports/failures.json": all(np.allclose(_over_bins(run, kind), right) for kind in failures.KINDS),
        "reports/shift.json": run.reports["shift"]["shifts"][0]["whole"]["value"] == whole,
        "reports/memory.json": run.reports["memory"]["linked"] == run.reports["emulated"]["memory"],
        "reports/frontier.csv": agree(
            [(row["early_exit_rate"], percentiles[int(row["percentile"])]) for row in run.tables["frontier"]]
        ),
        "reports/plots/reliability.csv": np.allclose(_right(run), right),
    }
    for path, fit in fits.items():
        if not fit:
            raise _of_another_run(path, STAGES[path])


def _over_bins(run: Run, kind: str) -> np.ndarray:
    """Return the share of right answers of each classifier, from the bins of reports/failures.json."""
    bins = run.reports["failures"][kind]
    right = [[one["n"] * found["value"] for found in one["accuracy"]] for one in bins]
    found: np.ndarray = np.sum(right, axis=0) / run.record["n"]
    return found


def _right(run: Run) -> list[float]:
    """Return the share of right answers of each classifier, from the bins of reports/plots/reliability.csv."""
    bins = run.tables["plots/reliability"]
    return [
        sum(row["right"] for row in bins if row["classifier"] == name) / run.record["n"] for name in run.record["names"]
    ]


def _of_another_run(path: str, stage: str) -> ValueError:
    """Return the error, with the stages to run; `dvc repro report` runs all that are out of date."""
    stages = stage if stage == "report" else f"{stage} report"
    return ValueError(f"{path} is of another run than {RECORD}; run `dvc repro {stages}`")


def leaves(params: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Return the leaves of params.yaml as text, by their dotted names."""
    found: dict[str, str] = {}
    for key, value in params.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            found |= leaves(value, f"{name}.")
        else:
            found[name] = json.dumps(value)
    return found


def differing(runs: list[Run]) -> list[tuple[str, list[str]]]:
    """Return the leaves of params.yaml that differ between runs, each with its values; "-" where a run lacks it."""
    flat = [leaves(run.params) for run in runs]
    names = sorted({name for each in flat for name in each})
    rows = [(name, [each.get(name, "-") for each in flat]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def _content(content: Callable[[str], bytes], path: str, stage: str) -> bytes:
    try:
        return content(path)
    except (FileNotFoundError, ValueError):
        raise ValueError(f"{path}: not found; run `dvc repro {stage}`") from None


def _json(content: Callable[[str], bytes], path: str, stage: str) -> Any:
    try:
        return json.loads(_content(content, path, stage))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON ({error}); run `dvc repro {stage}`") from None


def _table(content: Callable[[str], bytes], path: str, stage: str) -> list[dict[str, Any]]:
    text = _content(content, path, stage).decode("utf-8", "replace")
    return [{key: _number(value) for key, value in row.items()} for row in csv.DictReader(io.StringIO(text))]


def _number(text: str) -> float | str | None:
    """Return a cell as a number where it is one; None for a missing value."""
    try:
        value = float(text)
    except ValueError:
        return text
    return value if np.isfinite(value) else None


def _params(content: Callable[[str], bytes]) -> dict[str, Any]:
    try:
        found = YAML(typ="safe", pure=True).load(_content(content, PARAMS, "report").decode())
    except YAMLError as error:
        raise ValueError(f"{PARAMS}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{PARAMS}: must be sections of params")
    return found
