import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from earlyexit.dataset import PackedSplit
from earlyexit.model import checkpoint, facts, ranges
from earlyexit.model.network import ConvUnit, EarlyExitNetwork
from stages import logs, qat
from tests import tiny_network
from tests.stages.tiny_params import tiny
from tests.tiny_network import dark_and_bright

ON: dict[str, Any] = {"qat.epochs": 2, "qat.batch_size": 16, "train.threads": 1, "ptq.bits": 4}
SPLITS = {"train": dark_and_bright(33, 32), "calibration": dark_and_bright(10, 32, seed=1)}
FILES = facts.WEIGHTS, facts.FACTS
NAMES = "baseline", "early_exit"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)

    def opened(folder: Path, name: str) -> PackedSplit:
        return SPLITS[name]

    monkeypatch.setattr(logs, "open_split", opened)
    monkeypatch.setattr(logs, "answers", no_other_teacher)
    params = tiny()
    for name, structure in zip(NAMES, (params.baseline_architecture(), params.architecture()), strict=True):
        source = Path("models/pruned", name)
        source.mkdir(parents=True)
        checkpoint.save(source, tiny_network.network(structure), {"seed": 1, "metrics": {}})
    return tmp_path


def no_other_teacher(*_: Any) -> None:
    raise AssertionError("the network is its own teacher")


def run(monkeypatch: pytest.MonkeyPatch, name: str = "early_exit", **changes: Any) -> Path:
    monkeypatch.setattr(qat, "load", lambda: tiny(**changes))
    monkeypatch.setattr(sys, "argv", ["qat", name])
    qat.main()
    return Path("models/qat", name)


def distinct(network: EarlyExitNetwork) -> set[int]:
    """How many values the weights of a channel have, at most, of each convolution."""
    units = [unit for unit in network.modules() if isinstance(unit, ConvUnit)]
    return {max(len(channel.unique()) for channel in unit.conv.weight) for unit in units}


@pytest.mark.parametrize("name", NAMES)
def test_without_epochs_a_network_keeps_its_bytes_and_has_no_ranges(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, name)
    assert {path.name for path in found.iterdir()} == {*FILES, ranges.FILE}
    for file in FILES:
        assert (found / file).read_bytes() == Path("models/pruned", name, file).read_bytes()
    assert ranges.read(found, 4) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_trained_network_has_rounded_weights_and_ranges(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, name, **ON)
    network = checkpoint.load(found)
    assert max(distinct(network)) <= 15
    outputs = network.architecture.outputs
    learned = ranges.read(found, len(outputs))
    assert learned is not None and len(learned) == len(outputs)
    metrics = facts.facts(found)["metrics"]
    assert {f"calibration/{output}" for output in outputs} <= metrics.keys()
    assert not Path("models/.unfinished/qat", name).exists()


def test_without_rounding_the_training_is_in_float_and_learns_no_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, **ON, **{"qat.rounding": "false"})
    assert max(distinct(checkpoint.load(found))) > 15
    assert ranges.read(found, 4) is None


def test_two_runs_give_the_same_bytes_also_after_a_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    files = (*FILES, ranges.FILE)
    expected = [(run(monkeypatch, **ON) / file).read_bytes() for file in files]
    with monkeypatch.context() as patch:
        patch.setattr("earlyexit.training.trainers.settled", _killed)
        with pytest.raises(KeyboardInterrupt):
            run(patch, **ON)
    assert Path("models/.unfinished/qat/early_exit/state.json").exists()
    assert [(run(monkeypatch, **ON) / file).read_bytes() for file in files] == expected


def test_held_out_images_move_no_range(monkeypatch: pytest.MonkeyPatch) -> None:
    before = (run(monkeypatch, **ON) / ranges.FILE).read_bytes()
    monkeypatch.setitem(SPLITS, "calibration", dark_and_bright(10, 32, seed=2))
    assert (run(monkeypatch, **ON) / ranges.FILE).read_bytes() == before


def test_other_bits_start_an_unfinished_training_anew(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("earlyexit.training.trainers.settled", _killed)
        with pytest.raises(KeyboardInterrupt):
            run(patch, **ON)
    run(monkeypatch, **ON | {"ptq.bits": 8})
    assert (
        "qat: the unfinished training in models/.unfinished/qat/early_exit is of other weights"
        in capsys.readouterr().out
    )


def test_weights_that_are_no_numbers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path("models/pruned/early_exit")
    network = checkpoint.load(source)
    nn.init.constant_(network.classifier.linear.weight, torch.nan)
    checkpoint.save(source, network, {"seed": 1, "metrics": {}})
    with pytest.raises(ValueError, match=r"^models/pruned/early_exit/model\.safetensors: NaN or .*linear\.weight$"):
        run(monkeypatch, **ON)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"ptq.quantizer": "tensorflow", "qat.epochs": 1},
            r"^qat\.epochs: more than 0, but ptq\.quantizer is tensorflow",
        ),
        (
            {"disjoint.epochs": 0, "joint.epochs": 0, "qat.epochs": 1},
            r"^qat\.epochs: 1, but disjoint\.epochs and joint",
        ),
        ({"qat.freeze_ranges": 0}, r"^qat\.freeze_ranges: "),
        ({"qat.epochs": -1}, r"^qat\.epochs: "),
        ({"qat.rounding": 4}, r"^qat\.rounding: "),
    ],
)
def test_values_that_make_no_sense_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


def _killed(network: EarlyExitNetwork) -> EarlyExitNetwork:
    raise KeyboardInterrupt
