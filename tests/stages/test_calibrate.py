from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from earlyexit.dataset import PackedSplit
from earlyexit.policy import decision, thresholds
from earlyexit.policy.calibration import load as load_calibration
from earlyexit.policy.thresholds import Scope, load_thresholds
from earlyexit.tflite import deployment
from earlyexit.tflite.deployment import Deployment
from stages import calibrate
from tests import tiny_network


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deployed: Deployment) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "models" / "int8" / "early_exit"
    folder.mkdir(parents=True)
    deployment.save(folder, deployed, "litert")
    params = SimpleNamespace(calibrate=SimpleNamespace(percentiles=[50, 95], scope="exit"))
    monkeypatch.setattr(calibrate, "load", lambda: params)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, images: np.ndarray, labels: np.ndarray) -> None:
    split = PackedSplit(images, labels, np.arange(len(labels)))
    monkeypatch.setattr(calibrate, "open_split", lambda *_: split)
    calibrate.main()


def test_no_warning_in_the_normal_case(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, tiny_network.images(40), np.arange(40) % 2)
    found = load_thresholds("models/thresholds.json")
    assert (found.n, found.table) == (40, [50, 95])
    assert not any("dead" in warning for warning in found.warnings)
    assert capsys.readouterr().out.startswith("p50: 50 % requested of each exit, exit1 ")


@pytest.mark.parametrize("scope", ["exit", "pooled", "final"])
def test_percentiles_are_of_the_scope_in_params(
    root: Path, monkeypatch: pytest.MonkeyPatch, deployed: Deployment, scope: Scope
) -> None:
    params = SimpleNamespace(calibrate=SimpleNamespace(percentiles=[50], scope=scope))
    monkeypatch.setattr(calibrate, "load", lambda: params)
    run(monkeypatch, tiny_network.images(40), np.arange(40) % 2)
    margins = decision.margins(load_calibration("models/calibration.safetensors").logits)
    expected = thresholds.calibrate(margins, [50], deployed.names, deployed.logits_scales(), scope=scope)
    assert load_thresholds("models/thresholds.json").margins == expected.margins


def test_dead_exits_are_warned_of(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images = np.repeat(tiny_network.images(1), 20, axis=0)  # equal images: every classifier gives one answer
    run(monkeypatch, images, np.arange(20) % 2)
    found = load_thresholds("models/thresholds.json")
    assert [warning.partition(":")[0] for warning in found.warnings] == [
        "exit1 is dead", "exit2 is dead", "final is dead",
    ]  # fmt: skip
    printed = capsys.readouterr().out.splitlines()
    assert printed[-3:] == [f"warning: {warning}" for warning in found.warnings]


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_refused_before_any_work(root: Path, monkeypatch: pytest.MonkeyPatch, label: int) -> None:
    monkeypatch.setattr(calibrate, "all_logits", None)
    with pytest.raises(ValueError, match=f"none of the 20 images of the calibration split has label {1 - label}"):
        run(monkeypatch, tiny_network.images(20), np.full(20, label))
    assert not Path("models/thresholds.json").exists()
