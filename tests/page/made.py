"""A run whose reports agree with each other, of a network that does not exist."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from earlyexit.common.files import write_json
from earlyexit.evaluation import frontier
from earlyexit.evaluation.per_image import Evaluation
from earlyexit.page import record, run
from earlyexit.page.run import Run
from earlyexit.plots import reliability as reliability_plot
from earlyexit.reports import failures, policies, reliability, shift, table1
from earlyexit.tflite.deployment import Deployment
from tests import ROOT
from tests.plots import results

NAMES = results.names(3)


def write(folder: Path, deployed: Deployment, n: int = 300, changes: dict[str, Any] | None = None) -> Evaluation:
    """Write params.yaml and all reports of a run into `folder`; return the logits behind them.

    Args:
        folder: of the run.
        deployed: gives the arena.
        n: val images.
        changes: leaves of params.yaml by their dotted names.
    """
    evaluation, thresholds, costs = results.evaluation(n), results.thresholds(), results.costs()
    chosen = results.policies()
    cascade = {policy.name: 100.0 + number for number, policy in enumerate(chosen.policies)}
    network = Deployment(NAMES, deployed.models, results.MACS, deployed.pixels)
    found = record.record(evaluation, network, thresholds, costs)
    reports = folder / "reports"
    (reports / "plots").mkdir(parents=True)
    origin = {
        "data": "drawn",
        "exits": "after block1",
        "commit": "abc",
        "machine": {"processor": "any"},
        "versions": {"torch": "1"},
    }
    write_json(reports / "run.json", {**found, "origin": origin})
    write_json(reports / "table1.json", table1.rows(evaluation, thresholds, costs, cascade))
    write_json(reports / "policies.json", policies.report(chosen, evaluation, costs, cascade))
    write_json(reports / "emulated.json", emulated())
    write_json(reports / "memory.json", memory())
    write_json(reports / "reliability.json", reliability.report(evaluation, NAMES, results.scales(3), results.MACS))
    shown = [chosen.named(name) for name in ("p50", "guaranteed")]
    write_json(
        reports / "failures.json",
        failures.report(evaluation, NAMES, shown, np.linspace(0, 1, n), np.linspace(0.2, 0.8, n)),
    )
    write_json(reports / "shift.json", shift.report(chosen, results.shifts(evaluation), costs))
    pd.DataFrame(frontier.curve(evaluation, thresholds, costs)).to_csv(reports / "frontier.csv", index=False)
    reliability_plot.bins(evaluation, NAMES, results.scales(3)).to_csv(
        reports / "plots" / "reliability.csv", index=False
    )
    curves = [{"stage": "joint", "epoch": 1, "step": 1, **{f"calibration_{name}": 0.7 for name in NAMES}}]
    pd.DataFrame(curves).to_csv(reports / "plots" / "learning_curves.csv", index=False)
    layer = {"layer": 1, "segment": 1, "operator": "CONV_2D", "shape": "2x2", "sqnr": 30.5, "sqnr_alone": 31.0}
    pd.DataFrame([layer]).to_csv(reports / "plots" / "layer_error.csv", index=False)
    write_params(folder, changes or {})
    seal(folder)
    return evaluation


def write_params(folder: Path, changes: dict[str, Any]) -> None:
    """Write the project's params.yaml with `changes`, leaves by their dotted names."""
    yaml = YAML(typ="safe", pure=True)
    params = yaml.load(ROOT / "params.yaml")
    for leaf, value in changes.items():
        *sections, last = leaf.split(".")
        section = params
        for name in sections:
            section = section[name]
        section[last] = value
    yaml.dump(params, folder / "params.yaml")


def seal(folder: Path) -> None:
    """Take the hashes of all reports, as the stage does."""
    change(folder, "run", sha256=run.hashes(lambda path: (folder / path).read_bytes()))


def read(folder: Path, name: str = "") -> Run:
    """Return the run of a folder."""
    return run.read(name, lambda path: (folder / path).read_bytes())


def change(folder: Path, name: str, **values: Any) -> None:
    """Change top-level values of a JSON report."""
    path = folder / "reports" / f"{name}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def emulated() -> dict[str, Any]:
    until = results.costs()["emulated"].until
    cycles = np.diff(until, prepend=0).tolist()
    layer = {"layer": "conv_0", "in": "4x4x3", "out": "2x2x4", "macs": 10}
    return {
        "images": 4,
        "segments": {
            name: {"cycles": int(own), "cycles_until": total}
            for name, own, total in zip(NAMES, cycles, until, strict=True)
        },
        "baseline": {"cycles": results.costs()["emulated"].baseline},
        "layers": {"early_exit": [{"segment": name, "cycles": 5, **layer} for name in NAMES]},
        "memory": linked(),
    }


def memory() -> dict[str, Any]:
    return {"early_exit": {"flash": 200_000, "sram": 60_000}, "linked": linked()}


def linked() -> dict[str, Any]:
    return {"early_exit": {"flash": {"total": 190_000}, "ram": {"total": 30_000}}}
