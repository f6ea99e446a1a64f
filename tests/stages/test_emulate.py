from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from earlyexit.common.files import read_json
from earlyexit.dataset import COLUMNS
from earlyexit.emulation import report
from earlyexit.firmware import source
from earlyexit.tflite import deployment
from earlyexit.tflite.deployment import Deployment
from stages import emulate as stage
from tests import tiny_network
from tests.firmware import baseline


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deployed: Deployment) -> Path:
    """A workflow up to the stage: seven calibration images, of which four are asked for."""
    monkeypatch.chdir(tmp_path)
    params = SimpleNamespace(emulate=SimpleNamespace(images=4, refill=3, clock_mhz=80), budget=lambda: (65_536, 16_384))
    monkeypatch.setattr(stage, "load", lambda: params)
    for name, network in (("early_exit", deployed), ("baseline", baseline.network())):
        (tmp_path / "models/int8" / name).mkdir(parents=True)
        deployment.save(tmp_path / "models/int8" / name, network, "litert")
    (tmp_path / "data/packed").mkdir(parents=True)
    np.save(tmp_path / "data/packed/calibration.npy", tiny_network.images(7))
    table = pd.DataFrame({"id": range(7), "split": "calibration", "label": [0, 1, 0, 1, 0, 1, 0], "person_share": 0.0})
    table[COLUMNS].to_csv(tmp_path / "data/packed/index.csv", index=False)
    return tmp_path


def test_writes_the_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage.main()
    found = read_json("reports/emulated.json")
    assert found["images"] == 4
    assert found["clock_mhz"] == 80
    assert found["memory"]["early_exit"]["ram"]["total"] < 16_384
    text = Path("reports/emulated.md").read_text()
    assert text == report.markdown(found)
    assert text in capsys.readouterr().out


def test_a_wrong_answer_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate, mean = source.generate, "value + layer->out_zero_point"

    def wrong(*arguments: Any) -> dict[str, str]:
        files = generate(*arguments)
        assert f"{mean}, -128" in files["ee_kernels.c"]
        return {**files, "ee_kernels.c": files["ee_kernels.c"].replace(f"{mean}, -128", f"{mean} + 1, -128")}

    monkeypatch.setattr(source, "generate", wrong)
    with pytest.raises(ValueError, match="logits of exit1: the firmware's differ from TFLM"):
        stage.main()
    assert not Path("reports").exists()


def test_a_network_that_does_not_fit_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = SimpleNamespace(emulate=SimpleNamespace(images=1, refill=2, clock_mhz=80), budget=lambda: (4096, 16_384))
    monkeypatch.setattr(stage, "load", lambda: params)
    with pytest.raises(ValueError, match="of FLASH; the largest parts"):
        stage.main()
    assert not Path("reports").exists()
