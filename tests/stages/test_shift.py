from pathlib import Path

import numpy as np
import pytest

from earlyexit.common.files import read_json, write_json
from earlyexit.dataset import PackedSplit
from earlyexit.evaluation import per_image
from earlyexit.evaluation.per_image import Evaluation
from earlyexit.policy import decision
from earlyexit.policy.calibration import Calibration
from earlyexit.policy.policies import choose
from earlyexit.policy.thresholds import calibrate
from earlyexit.reports import failures, shift
from earlyexit.shift.corruptions import CORRUPTIONS
from earlyexit.tflite import deployment
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.segment import all_logits
from stages import failures as failures_stage
from stages import shift as stage
from stages import val
from tests.coco_source import write_source
from tests.conftest import Exported
from tests.stages.tiny_params import tiny

CYCLES = [100, 250, 600]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deployed: Deployment, exported: Exported) -> Path:
    """A folder that holds what both stages read."""
    monkeypatch.chdir(tmp_path)
    logits = all_logits(deployed.segments(), deployed.quantize(exported.images))
    n = logits.shape[1]
    labels, ids = np.arange(n) % 2, np.arange(n)
    for name in ("early_exit", "baseline"):
        folder = tmp_path / "models" / "int8" / name
        folder.mkdir(parents=True)
        deployment.save(folder, deployed, "litert")
    thresholds = calibrate(decision.margins(logits), [50], deployed.names, deployed.logits_scales())
    policies = choose(
        Calibration(logits, labels), thresholds, CYCLES, "emulated", searched={}, risk=0.05, delta=0.1, patient={}
    )
    write_json("models/policies.json", policies.model_dump())
    segments = {name: {"cycles_until": until} for name, until in zip(deployed.names, CYCLES, strict=True)}
    write_json("reports/emulated.json", {"baseline": {"cycles": 500}, "segments": segments})
    float_logits = logits.astype(np.float32)
    Path("models/evaluation").mkdir()
    per_image.save(
        Path("models/evaluation/val.safetensors"),
        Evaluation(ids, labels, float_logits[-1:], logits[-1:], float_logits, logits),
    )
    Path("data/packed").mkdir(parents=True)
    write_json("data/packed/summary.json", {"label_rule": "vww", "min_person_area": 0.1})
    rows = [f"{id_},val,{label},{0.1 * label}" for id_, label in zip(ids, labels, strict=True)]
    Path("data/packed/index.csv").write_text("\n".join(["id,split,label,person_share", *rows]))
    np.save("data/packed/val.npy", exported.images)
    return tmp_path


def use(monkeypatch: pytest.MonkeyPatch, **leaves: object) -> None:
    params = tiny(**{name.replace("__", "."): value for name, value in leaves.items()})
    for module in (stage, failures_stage):
        monkeypatch.setattr(module, "load", lambda: params)


def test_the_report_has_val_and_each_corruption(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch)
    stage.main()
    found = read_json("reports/shift.json")
    assert [row["shift"] for row in found["shifts"]] == ["clean", *CORRUPTIONS]
    results = per_image.load(Path("models/evaluation/val.safetensors"))
    assert found["shifts"][0]["whole"]["value"] == per_image.int8_accuracies(results)["final"]
    assert Path("reports/shift.md").read_text() == shift.markdown(found)
    before = Path("reports/shift.json").read_bytes()
    stage.main()
    assert Path("reports/shift.json").read_bytes() == before


def test_a_folder_adds_a_row_of_its_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, shift__folder=write_source(root / "mine"))
    stage.main()
    *_, last = read_json("reports/shift.json")["shifts"]
    assert (last["shift"], last["words"], last["n"]) == ("shift.folder", "mine", 6)


def test_a_missing_folder_stops_it_before_the_work(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, shift__folder="nowhere")
    monkeypatch.setattr(stage, "answers", None)
    with pytest.raises(FileNotFoundError, match=r"shift.folder: nowhere: no such folder"):
        stage.main()


def test_failures_are_of_the_first_percentile_and_the_built_in_policy(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, firmware__policy="guaranteed")
    failures_stage.main()
    found = read_json("reports/failures.json")
    assert found["policies"] == ["p50", "guaranteed"]
    assert [row["bin"] for row in found["size"]] == ["none", "10 to 20 %"]
    assert Path("reports/failures.md").read_text() == failures.markdown(found)
    use(monkeypatch, firmware__policy="p50")
    failures_stage.main()
    assert read_json("reports/failures.json")["policies"] == ["p50"]


def test_another_val_split_than_the_evaluated_one_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = PackedSplit(np.zeros((1, 32, 32, 3), np.uint8), np.zeros(1, np.int64), np.array([99]))
    monkeypatch.setattr(val, "open_split", lambda folder, name: other)
    for module in (stage, failures_stage):
        use(monkeypatch)
        with pytest.raises(ValueError, match="not the split that was evaluated; run `dvc repro evaluate`"):
            module.main()
