from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from earlyexit import dataset
from earlyexit.common.files import read_json, write_json
from earlyexit.evaluation import per_image
from earlyexit.evaluation.per_image import Evaluation
from earlyexit.policy import calibration, decision
from earlyexit.policy.policies import load_policies
from earlyexit.policy.thresholds import calibrate
from earlyexit.tflite import deployment
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.segment import all_logits
from stages import policies as report_stage
from stages import policy as stage
from tests.conftest import Exported
from tests.stages.tiny_params import tiny

CYCLES = [100, 250, 600]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deployed: Deployment, exported: Exported) -> Path:
    """A folder that holds what the stage reads."""
    monkeypatch.chdir(tmp_path)
    logits = all_logits(deployed.segments(), deployed.quantize(exported.images), "INT8")
    truth = decision.labels(logits[-1])
    for name in ("early_exit", "baseline"):
        folder = tmp_path / "models" / "int8" / name
        folder.mkdir(parents=True)
        deployment.save(folder, deployed, "litert")
    calibration.save("models/calibration.safetensors", logits, truth)
    found = calibrate(decision.margins(logits), [50], deployed.names, deployed.logits_scales())
    write_json("models/thresholds.json", found.model_dump())
    segments = {name: {"cycles_until": until} for name, until in zip(deployed.names, CYCLES, strict=True)}
    write_json("reports/emulated.json", {"baseline": {"cycles": 500}, "segments": segments})
    return tmp_path


def use(monkeypatch: pytest.MonkeyPatch, **leaves: str) -> None:
    monkeypatch.setattr(stage, "load", lambda: tiny(**{f"policy.{leaf}": value for leaf, value in leaves.items()}))


def test_policies_minimize_the_cost_that_the_params_name(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = deployment.load(Path("models/int8/early_exit"))
    for cost, until in (("emulated", CYCLES), ("macs", np.cumsum(network.macs).tolist())):
        use(monkeypatch, cost=cost)
        stage.main()
        found = load_policies("models/policies.json")
        assert (found.unit, found.costs, found.labelled) == (cost, until, True)


def test_cycles_that_were_not_counted_are_missed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, cost="emulated")
    Path("reports/emulated.json").unlink()
    with pytest.raises(ValueError, match=r"policy.cost: emulated needs reports/emulated.json; run `dvc repro policy`"):
        stage.main()


def test_measured_cost_is_timed_on_the_calibration_split(
    root: Path, monkeypatch: pytest.MonkeyPatch, exported: Exported
) -> None:
    split = dataset.PackedSplit(exported.images[:4], np.zeros(4, np.int64), np.arange(4))
    monkeypatch.setattr(stage, "open_split", lambda folder, name: {"calibration": split}[name])
    use(monkeypatch, cost="measured")
    stage.main()
    found = load_policies("models/policies.json").costs
    assert found == sorted(found)
    assert found[0] > 0


def test_photographs_without_labels_take_the_place_of_the_calibration_split(
    root: Path, monkeypatch: pytest.MonkeyPatch, exported: Exported
) -> None:
    (root / "camera").mkdir()
    for number, image in enumerate(exported.images[:40]):
        Image.fromarray(image).save(root / "camera" / f"{number:03}.png")
    use(monkeypatch, folder="camera")
    stage.main()
    found = load_policies("models/policies.json")
    assert (found.n, found.source, found.labelled) == (40, "camera, without labels", False)
    network = deployment.load(Path("models/int8/early_exit"))
    logits = all_logits(network.segments(), network.quantize(exported.images[:40]), "INT8")
    policy = found.named("searched_0")
    decided = decision.decide(logits, policy.thresholds)
    assert policy.risk == pytest.approx(np.mean(decided.labels != decision.labels(logits[-1])))


def test_a_folder_without_photographs_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, folder="camera")
    with pytest.raises(ValueError, match="camera: no such folder"):
        stage.main()
    (root / "camera").mkdir()
    with pytest.raises(ValueError, match="camera: holds no photograph"):
        stage.main()
    (root / "camera" / "a.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"a\.jpg: neither JPEG"):
        stage.main()


def test_the_report_is_written_and_printed(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], exported: Exported
) -> None:
    use(monkeypatch, cost="macs")
    stage.main()
    names = [policy.name for policy in load_policies("models/policies.json").policies]
    network = deployment.load(Path("models/int8/early_exit"))
    logits = all_logits(network.segments(), network.quantize(exported.images), "INT8")
    evaluation = Path("models/evaluation/val.safetensors")
    evaluation.parent.mkdir()
    per_image.save(
        evaluation,
        Evaluation(
            ids=np.arange(len(exported.images)),
            labels=decision.labels(logits[-1]),
            fp32_baseline=logits[-1:].astype(np.float32),
            int8_baseline=logits[-1:],
            fp32_early_exit=logits.astype(np.float32),
            int8_early_exit=logits,
        ),
    )
    timed = {"baseline": 5.0, "segments": dict.fromkeys(network.names, 2.0), "cascade": dict.fromkeys(names, 3.0)}
    write_json("models/latency.json", timed)
    report_stage.main()
    found = read_json("reports/policies.json")
    assert [policy["name"] for policy in found["policies"]] == names
    text = Path("reports/policies.md").read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
