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
    made.change(folder, "run", labels="AAAA")


@pytest.mark.parametrize("name", ["table1", "policies", "emulated", "memory", "reliability"])
def test_a_report_of_another_run_names_its_stage(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, name: str, deployed: Deployment
) -> None:
    other = tmp_path_factory.mktemp("other")
    made.write(other, deployed, n=302)
    path = Path("reports") / f"{name}.json"
    text = (other / path).read_text()
    if name == "emulated":
        text = text.replace('"cycles_until": 1200', '"cycles_until": 1201')
    if name == "memory":
        text = text.replace("190000", "190001")
    assert text != (folder / path).read_text()
    (folder / path).write_text(text)
    with pytest.raises(ValueError, match=rf"reports/{name}.json is of another run .*; run `dvc repro \w+ report`"):
        made.read(folder)


def test_params_that_differ_are_listed(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, deployed: Deployment
) -> None:
    other = tmp_path_factory.mktemp("other")
    made.write(other, deployed, changes={"joint.w_final": 0.5})
    runs = [made.read(folder, "one"), made.read(other, "two")]
    assert run.differing(runs) == [("joint.w_final", ["1.0", "0.5"])]
    assert run.differing(runs[:1]) == []
