"""Sweeps over a toy project whose only stage writes what the workflow's reports look like."""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest
from dvc.cli import main as dvc
from dvc.repo import Repo

from earlyexit.reports.table1 import UNPRUNED
from experiments import collect, compare, finished, seeds
from rehearsal.miniature import commit, environment

STAGE = """\
import json, pathlib
from ruamel.yaml import YAML
params = YAML(typ="safe", pure=True).load(pathlib.Path("params.yaml"))
seed, exits = params["train"]["seed"], params["exits"]
accuracy = 0.8 + seed / 100
row = {"accuracy": accuracy, "early_exit_rate": None, "exit_share": None, "mean_macs": None,
       "speedup_macs": None, "speedup_measured": None, "speedup_emulated": None, "n": 100}
early = {**row, "configuration": "p50", "early_exit_rate": 0.5, "exit_share": [0.5, 0.5], "mean_macs": 1e6 * seed,
         "speedup_macs": 2.0, "speedup_measured": 1.5 + seed / 10, "speedup_emulated": 1.5}
table = [{**row, "configuration": "fp32"}, {**row, "configuration": "int8_baseline"}, early]
trade = {"percentile": 30, "accuracy": accuracy, "speedup_measured": 2.0}
write = lambda name, value: (pathlib.Path("reports") / name).write_text(json.dumps(value))
pathlib.Path("reports/plots").mkdir(parents=True, exist_ok=True)
write("table1.json", table)
alone = {"accuracy": accuracy}
write("metrics.json", {"fp32": alone, "int8_baseline": alone, "within_half_point": trade})
write("memory.json", {"early_exit": {"flash": 1000 * seed, "sram": 2000}})
scores = {"accuracy": {"value": accuracy}, "macs": 10, "useless": seed == 2}
names = [f"exit{i + 1}" for i in range(len(exits))] + ["final"]
write("reliability.json", {"classifiers": dict.fromkeys(names, scores)})
kept = {"loss": seed / 100, "risk": 0.02, "speedup_emulated": 2.0}
policy = {"name": "searched_0", "calibration": {"loss": 0.0}, "val": kept}
write("policies.json", {"n": 100, "calibration": {"n": 50}, "policies": [policy]})
write("plots/frontier.csv", seed)
write("plots/samples.png", seed)
pathlib.Path("models").mkdir(exist_ok=True)
pathlib.Path("models/weights").write_text(str(seed))
"""
OUTS = ["table1.json", "policies.json", "metrics.json", "memory.json", "reliability.json", "plots"]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc.*")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Git and DVC repository with three experiments: trial-1 and trial-2, of two seeds, and other."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "stage.py").write_text(STAGE)
    (folder / "params.yaml").write_text("train: {seed: 1}\nexits: [block2]\n")
    outs = "".join(f"    - reports/{name}: {{cache: false}}\n" for name in OUTS)
    (folder / "dvc.yaml").write_text(
        "stages:\n  all:\n    cmd: python stage.py\n    params: [train, exits]\n    deps: [stage.py]\n    outs:\n"
        + outs
        + "    - models\n"
    )
    (folder / "reports").mkdir()
    (folder / "reports/notes.md").write_text("by hand")
    commit(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PATH", environment()["PATH"])
        for command in (
            "init",
            "exp run --name trial-2 -S train.seed=4 -S exits=[block2]",
            "exp run --name trial-1 -S train.seed=2 -S exits=[block2]",
            "exp run --name other -S train.seed=3 -S exits=[block2,block4]",
        ):
            assert dvc(command.split()) == 0
    return folder


def test_experiments_are_found_by_name_in_order(project: Path) -> None:
    found = finished.find("trial", str(project))
    assert [experiment.name for experiment in found] == ["trial-1", "trial-2"]
    assert [experiment.param("train.seed") for experiment in found] == [2, 4]
    assert [experiment.report("memory.json")["early_exit"]["flash"] for experiment in found] == [2000, 4000]
    assert [experiment.name for experiment in finished.find("other", str(project))] == ["other"]


def test_models_of_experiments_are_copied_one_after_the_other(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    found = [
        (finished.seed(folder), (folder / "models/weights").read_text(), folder)
        for folder in finished.folders(["trial", "."], ["params.yaml", "models"])
    ]
    assert [entry[:2] for entry in found] == [(2, "2"), (4, "4"), (3, "3")]
    assert [folder.exists() for *_, folder in found] == [False, False, True]
    with pytest.raises(ValueError, match=r"trial-1 \(.{7}\): data cannot be read: "):
        next(finished.folders(["trial"], ["data"]))


def test_what_is_not_there(project: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no experiments named tri-1"):
        finished.find("tri", str(project))
    with pytest.raises(ValueError, match="no DVC project"):
        finished.find("trial", str(tmp_path))
    found = finished.find("trial", str(project))[0]
    with pytest.raises(ValueError, match=r"train.sed: no such leaf in the params of trial-1"):
        found.param("train.sed")
    with pytest.raises(ValueError, match=r"trial-1 \(.{7}\) has no reports/table2.json"):
        found.report("table2.json")


def test_a_project_that_another_process_locks(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dvc.lock.DEFAULT_TIMEOUT", 0)
    with Repo(str(project)).lock, pytest.raises(ValueError, match="cannot be listed: Unable to acquire lock"):
        finished.find("trial", str(project))


def run(module: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["", *arguments])
    module.main()


def test_seeds_become_mean_and_deviation(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(seeds, project, monkeypatch, "trial")
    written = json.loads((project / "reports/sweeps/trial.json").read_text())
    assert written["seeds"] == [2, 4]
    fp32, _, early = written["rows"]
    assert fp32["accuracy"] == pytest.approx({"mean": 0.83, "sd": statistics.stdev([0.82, 0.84])})
    assert fp32["speedup_macs"] is None
    assert early["speedup_measured"] == pytest.approx({"mean": 1.8, "sd": statistics.stdev([1.7, 1.9])})
    text = (project / "reports/sweeps/trial.md").read_text()
    assert "| fp32 | 83.00 ± 1.41 | - | - | - | - | - |" in text
    assert "over 2 seeds (2, 4); n = 100" in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1


def test_policies_of_seeds_show_what_the_calibration_images_were_overfitted_by(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(seeds, project, monkeypatch, "trial")
    (row,) = json.loads((project / "reports/sweeps/trial_policies.json").read_text())["rows"]
    assert row["overfit"] == row["loss"] == pytest.approx({"mean": 0.03, "sd": statistics.stdev([0.02, 0.04])})
    text = (project / "reports/sweeps/trial_policies.md").read_text()
    assert "| searched_0 | 0.00 ± 0.00 | 3.00 ± 1.41 | 3.00 ± 1.41 | 2.00 ± 0.00 | 2.00 ± 0.00 |" in text
    assert "n = 50 calibration and 100 val images" in text


def test_one_seed_has_no_deviation_and_other_rows_no_mean() -> None:
    table = [{"configuration": "fp32"}]
    with pytest.raises(ValueError, match="two experiments, not 1"):
        seeds.summarize([table])
    with pytest.raises(ValueError, match="different rows"):
        seeds.summarize([table, [{"configuration": "p50"}]])


def test_an_unpruned_baseline_has_a_mean_where_all_seeds_have_it() -> None:
    plain, unpruned = ({"configuration": name, "n": 9} | dict.fromkeys(seeds.CELLS, 0.5) for name in ("fp32", UNPRUNED))
    for other, names in (([plain], ["fp32"]), ([plain, unpruned], ["fp32", UNPRUNED])):
        assert [row["configuration"] for row in seeds.summarize([[plain, unpruned], other])] == names


def test_experiments_side_by_side(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(compare, project, monkeypatch, "trial", "exits", "train.seed")
    first, second = json.loads((project / "reports/sweeps/trial.json").read_text())
    assert first["params"] == {"exits": ["block2"], "train.seed": 2}
    assert (second["flash"], second["baseline"]) == (4000, pytest.approx(0.84))
    assert first["classifiers"]["exit1"]["useless"]
    assert not second["classifiers"]["exit1"]["useless"]
    lines = (project / "reports/sweeps/trial.md").read_text().splitlines()
    assert lines[2] == "| block2 | 2 | 82.00 | 82.00 (useless) | 82.00 (useless) | 2.00x (p30) | - | 2,000 | 2,000 |"
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    with pytest.raises(ValueError, match="usage"):
        run(compare, project, monkeypatch, "trial")


def test_reports_are_those_of_the_stages_without_photographs(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(collect, project, monkeypatch, "trial", str(tmp_path / "kept"))
    files = {
        path.relative_to(tmp_path / "kept").as_posix() for path in (tmp_path / "kept").rglob("*") if path.is_file()
    }
    assert files == {
        "table1.json",
        "metrics.json",
        "memory.json",
        "reliability.json",
        "policies.json",
        "plots/frontier.csv",
    }
    assert json.loads((tmp_path / "kept/plots/frontier.csv").read_text()) == 4
