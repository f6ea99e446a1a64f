"""The reports of one run, read and held against each other."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from earlyexit.page import record
from earlyexit.reports.table1 import WHOLE

# Each report with the stage that writes it.
JSON = {
    "run": "report",
    "table1": "table1",
    "policies": "policies",
    "memory": "memory",
    "reliability": "reliability",
    "emulated": "emulate",
}
TABLES = {
    "frontier": "plots",
    "plots/reliability": "plots",
    "plots/learning_curves": "plots",
    "plots/layer_error": "plots",
}


@dataclass(frozen=True)
class Run:
    """A run's params and reports.

    Attributes:
        name: for legends; empty where there is one run.
        params: params.yaml.
        reports: content of the JSON reports, by name without ending.
        tables: rows of the CSV reports, by name without ending; numbers as floats.
    """

    name: str
    params: dict[str, Any]
    reports: dict[str, Any]
    tables: dict[str, list[dict[str, Any]]]

    @property
    def record(self) -> dict[str, Any]:
        """What `record.record` returned."""
        found: dict[str, Any] = self.reports["run"]
        return found

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
        {key: _json(content, f"reports/{key}.json", stage) for key, stage in JSON.items()},
        {key: _table(content, f"reports/{key}.csv", stage) for key, stage in TABLES.items()},
    )
    check(run)
    return run


def check(run: Run) -> None:
    """Verify that all reports are of one run: that they agree on what several of them say.

    Raises:
        ValueError: one differs from reports/run.json; names it and the stage to run.
    """
    found = run.record
    try:
        labels, answers, _ = record.unpacked(found)
    except ValueError as error:
        raise ValueError(f"reports/run.json: {error}; run `dvc repro report`") from None
    accuracies = {WHOLE: float(np.mean(answers[-1] == labels))}
    agree = {
        "table1": run.rows[WHOLE]["accuracy"] == accuracies[WHOLE] and run.rows[WHOLE]["n"] == found["n"],
        "policies": run.reports["policies"]["whole"]["accuracy"] == accuracies[WHOLE]
        and all(len(policy["thresholds"]) == len(found["names"]) - 1 for policy in run.policies.values()),
        "emulated": [entry["cycles_until"] for entry in run.reports["emulated"]["segments"].values()]
        == found["costs"]["emulated"]["until"],
        "reliability": [entry["accuracy"]["value"] for entry in run.reports["reliability"]["classifiers"].values()]
        == (answers == labels).mean(1).tolist(),
        "memory": run.reports["memory"]["linked"] == run.reports["emulated"]["memory"],
    }
    for name, agrees in agree.items():
        if not agrees:
            raise ValueError(
                f"reports/{name}.json is of another run than reports/run.json; run `dvc repro {JSON[name]} report`"
            )


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
        found = YAML(typ="safe", pure=True).load(_content(content, "params.yaml", "report").decode())
    except YAMLError as error:
        raise ValueError(f"params.yaml: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise ValueError("params.yaml: must be sections of params")
    return found
