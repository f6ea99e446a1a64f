from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from earlyexit.common.files import read_json, write_json, write_text
from earlyexit.dataset import COLUMNS
from earlyexit.emulation import emulate, report
from earlyexit.evaluation import per_image
from earlyexit.evaluation.per_image import Evaluation
from earlyexit.firmware import source
from earlyexit.policy import decision
from earlyexit.tflite import deployment
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.segment import all_logits
from stages import verify as stage
from tests import tiny_network
from tests.firmware import baseline
from tests.policies import policies, policy

N = 30


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deployed: Deployment) -> Path:
    """A workflow up to the stage: thirty images of val, of which eight are asked for."""
    monkeypatch.chdir(tmp_path)
    emulated = SimpleNamespace(cascade_images=8, refill=2)
    params = SimpleNamespace(emulate=emulated, firmware=SimpleNamespace(policy="patience2"))
    monkeypatch.setattr(stage, "load", lambda: params)
    (tmp_path / "models/int8/early_exit").mkdir(parents=True)
    deployment.save(tmp_path / "models/int8/early_exit", deployed, "litert")
    pixels, labels = tiny_network.images(N, seed=3), np.arange(N, dtype=np.int64) % 2
    images = deployed.quantize(pixels)
    logits = all_logits(deployed.segments(), images, "INT8")
    (tmp_path / "models/evaluation").mkdir()
    floats = logits.astype(np.float32)
    found = Evaluation(np.arange(N, dtype=np.int64), labels, floats[-1:], logits[-1:], floats, logits)
    per_image.save(tmp_path / "models/evaluation/val.safetensors", found)
    half = [int(np.median(row)) for row in decision.margins(logits)[:-1]]
    chosen = policies(policy(half), policy([255, 255], 2, name="patience2"), policy([255, 255], name="guaranteed"))
    write_json(tmp_path / "models/policies.json", chosen.model_dump())
    for file, text in source.generate(deployed, chosen.named("patience2")).items():
        write_text(tmp_path / "models/firmware/src" / file, text)
    whole = baseline.network()
    one, other = (emulate.emulate(network, network.quantize(pixels[:1])) for network in (deployed, whole))
    write_json(tmp_path / "reports/emulated.json", report.report(one, other, 120))
    (tmp_path / "data/packed").mkdir(parents=True)
    np.save(tmp_path / "data/packed/val.npy", pixels)
    table = pd.DataFrame({"id": range(N), "split": "val", "label": labels, "person_share": 0.0})
    table[COLUMNS].to_csv(tmp_path / "data/packed/index.csv", index=False)
    return tmp_path


def test_every_policy_is_verified(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage.main()
    found = read_json("models/verified.json")
    assert (found["images"], found["decisions"], found["built_in"]) == (8, 24, "patience2")
    assert list(found["policies"]) == ["p50", "patience2", "guaranteed"]
    assert found["policies"]["guaranteed"]["exits"] == [0, 0, 8]
    assert min(found["policies"]["p50"]["exits"]) > 0
    assert "24 decisions of 3 policies on 8 images" in capsys.readouterr().out


def test_a_firmware_of_another_policy_is_noticed(folder: Path, deployed: Deployment) -> None:
    for file, text in source.generate(deployed, policy([7, 9])).items():
        write_text(Path("models/firmware/src") / file, text)
    with pytest.raises(ValueError, match=r"starts with thresholds \[7, 9\] and patience 0, the policy patience2"):
        stage.main()
    assert not Path("models/verified.json").exists()


def test_a_policy_that_does_not_exist_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = SimpleNamespace(firmware=SimpleNamespace(policy="p51"))
    monkeypatch.setattr(stage, "load", lambda: params)
    with pytest.raises(ValueError, match=r"firmware\.policy: no policy p51; there are p50, patience2"):
        stage.main()
