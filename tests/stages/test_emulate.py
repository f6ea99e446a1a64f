from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from earlyexit.common.files import read_json, write_json, write_text
from earlyexit.dataset import COLUMNS
from earlyexit.emulation import report
from earlyexit.evaluation import per_image
from earlyexit.firmware import source
from earlyexit.tflite import deployment
from earlyexit.tflite.deployment import Deployment
from stages import emulate as stage
from tests import tiny_network
from tests.firmware import baseline
from tests.plots import results


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deployed: Deployment) -> Path:
    """A workflow up to the stage: seven images of val, of which four are asked for."""
    monkeypatch.chdir(tmp_path)
    params = SimpleNamespace(emulate=SimpleNamespace(images=4, refill=3, clock_mhz=80), budget=lambda: (65_536, 16_384))
    monkeypatch.setattr(stage, "load", lambda: params)
    for name, network in (("early_exit", deployed), ("baseline", baseline.network())):
        (tmp_path / "models/int8" / name).mkdir(parents=True)
        deployment.save(tmp_path / "models/int8" / name, network, "litert")
    write_json(tmp_path / "models/thresholds.json", results.thresholds(2).model_dump())
    (tmp_path / "models/evaluation").mkdir()
    per_image.save(tmp_path / "models/evaluation/val.safetensors", results.evaluation(exits=2))
    library = source.generate(deployed, [9, 9])
    for file, text in library.items():
        write_text(tmp_path / "models/firmware/src" / file, text)
    (tmp_path / "data/packed").mkdir(parents=True)
    np.save(tmp_path / "data/packed/val.npy", tiny_network.images(7))
    table = pd.DataFrame({"id": range(7), "split": "val", "label": [0, 1, 0, 1, 0, 1, 0], "person_share": 0.0})
    table[COLUMNS].to_csv(tmp_path / "data/packed/index.csv", index=False)
    return tmp_path


def test_writes_the_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage.main()
    found = read_json("reports/emulated.json")
    assert (found["images"], found["val_images"]) == (4, 60)
    assert list(found["cascade"]) == ["p50", "p75", "p95"]
    assert found["clock_mhz"] == 80
    assert found["memory"]["early_exit"]["ram"]["total"] < 16_384
    text = Path("reports/emulated.md").read_text()
    assert text == report.markdown(found)
    assert text in capsys.readouterr().out


def test_another_firmware_is_noticed(folder: Path) -> None:
    path = Path("models/firmware/src/ee_kernels.c")
    mean = "value + layer->out_zero_point"
    write_text(path, path.read_text().replace(f"{mean}, -128", f"{mean} + 1, -128"))
    with pytest.raises(ValueError, match="logits of exit1: the firmware's differ from TFLM"):
        stage.main()
    assert not Path("reports").exists()
