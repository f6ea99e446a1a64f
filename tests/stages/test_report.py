import subprocess
from pathlib import Path

import numpy as np
import pytest

from earlyexit import dataset
from earlyexit.common.files import read_json, write_json
from earlyexit.evaluation import per_image
from earlyexit.page import run
from earlyexit.params import load
from earlyexit.tflite import deployment
from earlyexit.tflite.deployment import Deployment
from stages import costs, val
from stages import report as stage
from tests.page import made
from tests.plots import results

N = 120


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deployed: Deployment) -> Path:
    """A folder that holds what the stage reads."""
    monkeypatch.chdir(tmp_path)
    evaluation = made.write(tmp_path, deployed, N, {"data.source": "embedded"})
    (tmp_path / "reports" / "run.json").unlink()
    (tmp_path / "models" / "evaluation").mkdir(parents=True)
    (tmp_path / "models" / "int8" / "early_exit").mkdir(parents=True)
    (tmp_path / "models" / "int8" / "early_exit" / "segment1.tflite").write_bytes(b"segment")
    per_image.save(tmp_path / "models" / "evaluation" / "val.safetensors", evaluation)
    write_json("models/thresholds.json", results.thresholds().model_dump())
    write_json("models/policies.json", results.policies().model_dump())
    write_json("models/placement.json", {"exits": ["block1", "block2", "block3"], "head": "pooled"})
    write_json("models/latency.json", {"machine": {"processor": "any"}})
    packed = tmp_path / "data" / "packed"
    packed.mkdir(parents=True)
    summary = {"source": "embedded", "definition": "any", "counts": {"val": {"images": N}}}
    write_json(packed / "summary.json", summary)
    images = np.random.default_rng(0).integers(0, 256, (N, 8, 8, 3), dtype=np.uint8)
    split = dataset.PackedSplit(images, evaluation.labels, evaluation.ids)
    monkeypatch.setattr(val, "open_split", lambda folder, name: split)
    network = Deployment(made.NAMES, deployed.models, results.MACS, deployed.pixels)
    monkeypatch.setattr(deployment, "load", lambda folder: network)
    monkeypatch.setattr(costs, "read", results.costs)
    return tmp_path


def test_writes_the_page_the_card_and_a_folder_to_upload(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage.main()
    page = Path("reports/report.html").read_text(encoding="utf-8")
    assert "Images by exit" in page
    assert "data:image/jpeg;base64," in page
    card = Path("reports/model_card.md").read_text(encoding="utf-8")
    assert Path("models/hub/README.md").read_text(encoding="utf-8") == card
    assert {path.name for path in Path("models/hub").iterdir()} == {"README.md", "policies.json", "segment1.tflite"}
    found = read_json("reports/run.json")
    assert found["origin"]["commit"] == "none"
    assert found["origin"]["exits"] == "after block1, block2, block3; pooled"
    assert found["sha256"] == run.hashes(lambda path: Path(path).read_bytes())
    assert "open it in a browser" in capsys.readouterr().out


@pytest.mark.parametrize("changes", [{"data.source": "/photos"}, {"report.thumbnails": "never"}])
def test_photographs_from_elsewhere_are_not_shown(root: Path, changes: dict[str, str]) -> None:
    made.write_params(root, changes)
    stage.main()
    assert "data:image" not in Path("reports/report.html").read_text(encoding="utf-8")


def test_a_report_of_another_run_stops_it(root: Path) -> None:
    made.change(root, "memory", linked={})
    with pytest.raises(ValueError, match=r"reports/memory.json is of another run .*; run `dvc repro memory report`"):
        stage.main()
    assert not Path("reports/report.html").exists()


def test_the_commit_is_named_with_its_changes(root: Path) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    for command in (["init", "-q"], ["add", "params.yaml"], [*identity, "commit", "-qm", "params"]):
        subprocess.run(["git", *command], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout[:12]
    stage.main()
    assert read_json("reports/run.json")["origin"]["commit"] == head
    made.write_params(root, {"train.seed": 7})
    stage.main()
    assert read_json("reports/run.json")["origin"]["commit"] == f"{head}, with changes"
    assert load().train.seed == 7
