import json
from pathlib import Path

import pytest

from earlyexit.page import run
from earlyexit.tflite.deployment import Deployment
from tests.page import made


@pytest.fixture
def folder(tmp_path: Path, deployed: Deployment) -> Path:
    made.write(tmp_path, deployed)
    return tmp_path


def test_reports_of_one_run_are_read(folder: Path) -> None:
    found = made.read(folder, "mine")
    assert found.rows["no_early_exit"]["accuracy"] == found.reports["policies"]["whole"]["accuracy"]
    assert list(found.policies)[:3] == ["p50", "p75", "p95"]
    assert len(found.tables["frontier"]) == 101
    assert found.tables["plots/layer_error"][0]["sqnr"] == 30.5


@pytest.mark.parametrize(
    ("path", "stage"),
    [("reports/memory.json", "memory"), ("reports/frontier.csv", "plots"), ("reports/run.json", "report")],
)
def test_a_missing_report_names_its_stage(folder: Path, path: str, stage: str) -> None:
    (folder / path).unlink()
    with pytest.raises(ValueError, match=f"{path}: not found; run `dvc repro {stage}`"):
        made.read(folder)


def test_a_damaged_report_names_its_stage(folder: Path) -> None:
    (folder / "reports" / "policies.json").write_text("{")
    with pytest.raises(ValueError, match=r"reports/policies.json: not valid JSON .*; run `dvc repro policies`"):
        made.read(folder)


def test_damaged_decisions_name_the_stage(folder: Path) -> None:
    made.change(folder, "run", labels="AAAA")
    with pytest.raises(ValueError, match=r"reports/run.json: its decisions .*; run `dvc repro report`"):
        made.read(folder)


@pytest.mark.parametrize("path", sorted(run.STAGES))
def test_a_report_that_was_replaced_names_its_stage(folder: Path, path: str) -> None:
    text = (folder / path).read_text()
    (folder / path).write_text(f"{text}\ntrain.more: 1\n" if path == run.PARAMS else f"{text}\n")
    stages = "report" if path == run.PARAMS else f"{run.STAGES[path]} report"
    with pytest.raises(
        ValueError, match=rf"^{path} is of another run than reports/run.json; run `dvc repro {stages}`$"
    ):
        made.read(folder)


def test_comments_and_layout_of_params_are_no_change(folder: Path) -> None:
    path = folder / "params.yaml"
    path.write_text("# a comment\n\n" + path.read_text())
    assert made.read(folder).params["train"]["seed"] == 1


def test_a_record_without_hashes_is_of_no_run(folder: Path) -> None:
    made.change(folder, "run", sha256={})
    with pytest.raises(ValueError, match="is of another run than"):
        made.read(folder)


@pytest.mark.parametrize(
    "path",
    [
        "reports/table1.json",
        "reports/policies.json",
        "reports/emulated.json",
        "reports/memory.json",
        "reports/reliability.json",
        "reports/failures.json",
        "reports/shift.json",
        "reports/frontier.csv",
        "reports/plots/reliability.csv",
    ],
)
def test_reports_of_two_runs_do_not_fit_together(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, path: str, deployed: Deployment
) -> None:
    other = tmp_path_factory.mktemp("other")
    made.write(other, deployed, n=302)
    text = (other / path).read_text()
    text = text.replace('"cycles_until": 1200', '"cycles_until": 1201') if "emulated" in path else text
    text = text.replace("190000", "190001") if "memory" in path else text
    assert text != (folder / path).read_text()
    (folder / path).write_text(text)
    made.seal(folder)
    with pytest.raises(ValueError, match=rf"{path} is of another run .*; run `dvc repro \w+ report`"):
        made.read(folder)


@pytest.mark.parametrize("name", ["table1", "policies"])
def test_one_other_row_is_enough(folder: Path, name: str) -> None:
    path = folder / "reports" / f"{name}.json"
    found = json.loads(path.read_text())
    row = found[-1] if name == "table1" else found["policies"][3]["val"]
    row["early_exit_rate"] += 1 / 300
    path.write_text(json.dumps(found))
    made.seal(folder)
    with pytest.raises(ValueError, match=f"reports/{name}.json is of another run"):
        made.read(folder)


def test_params_that_differ_are_listed(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, deployed: Deployment
) -> None:
    other = tmp_path_factory.mktemp("other")
    made.write(other, deployed, changes={"joint.w_final": 0.5})
    runs = [made.read(folder, "one"), made.read(other, "two")]
    assert run.differing(runs) == [("joint.w_final", ["1.0", "0.5"])]
    assert run.differing(runs[:1]) == []
