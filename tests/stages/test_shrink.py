from pathlib import Path
from typing import Any

import pytest
from torch import nn

from earlyexit.budget.cost import estimated_cycles
from earlyexit.dataset import PackedSplit
from earlyexit.model import checkpoint
from earlyexit.model import facts as model_facts
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.pruning.layers import layers, widths
from earlyexit.quantization.recipe import WeightFormat
from earlyexit.training import trainers
from stages import logs, shrink
from tests.stages.tiny_params import tiny
from tests.tiny_network import dark_and_bright

TARGET = {"prune.target": 0.7, "prune.epochs": 1, "prune.steps": 2, "baseline.batch_size": 16, "train.threads": 1}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    splits = {"train": dark_and_bright(33, 32), "calibration": dark_and_bright(10, 32, seed=1)}

    def opened(folder: Path, name: str) -> PackedSplit:
        return splits[name]

    monkeypatch.setattr(logs, "open_split", opened)
    monkeypatch.setattr(logs, "answers", lambda images, share: None)
    shrink.BASELINE.mkdir(parents=True)
    checkpoint.save(shrink.BASELINE, EarlyExitNetwork(tiny().baseline_architecture()), {"seed": 1, "metrics": {}})
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Path:
    monkeypatch.setattr(shrink, "load", lambda: tiny(**changes))
    shrink.main()
    return Path("models/shrunk")


def test_without_a_target_the_baseline_keeps_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch)
    names = {path.name for path in found.iterdir()}
    assert names == {"model.json", "model.safetensors"}
    assert all((found / name).read_bytes() == (shrink.BASELINE / name).read_bytes() for name in names)


@pytest.mark.parametrize("importance", ["taylor", "scale"])
def test_the_network_fits_the_target_and_was_trained(importance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, **TARGET, **{"prune.importance": importance, "prune.multiple": 1})
    whole = estimated_cycles(tiny().baseline_architecture())
    assert 0.3 * whole < estimated_cycles(checkpoint.load(found).architecture) <= 0.7 * whole
    facts = model_facts.facts(found)
    assert facts["shrunk"]["left"] <= 0.7 and facts["shrunk"]["importance"] == importance
    before, after = (sum(widths(layers(checkpoint.load(path))).values()) for path in (shrink.BASELINE, found))
    assert (facts["shrunk"]["channels"], facts["shrunk"]["removed"]) == (before, before - after)
    assert "calibration/final" in facts["metrics"]
    assert not Path("models/.unfinished/shrunk").exists()


def test_cycles_are_those_of_the_weights_that_the_device_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, **TARGET, **{"prune.multiple": 1, "ptq.bits": 4, "ptq.weights": "per_tensor"})
    networks = checkpoint.load(found).architecture, tiny().baseline_architecture()
    share, of_eight_bits = (
        estimated_cycles(networks[0], weights) / estimated_cycles(networks[1], weights)
        for weights in (WeightFormat(per_channel=False, bits=4), WeightFormat())
    )
    assert model_facts.facts(found)["shrunk"]["left"] == share != of_eight_bits


def test_a_killed_stage_goes_on_and_ends_with_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = TARGET | {"prune.multiple": 1}
    expected = (run(monkeypatch, **changes) / "model.safetensors").read_bytes()
    trained: list[str] = []
    train_baseline = trainers.train_baseline

    def killed(network: Any, recipe: Any, session: Any, title: str) -> Any:
        trained.append(session.unfinished.name)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return train_baseline(network, recipe, session, title)

    monkeypatch.setattr(trainers, "train_baseline", killed)
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, **changes)
    assert sorted(path.name for path in Path("models/.unfinished/shrunk").iterdir()) == ["step1"]
    assert (run(monkeypatch, **changes) / "model.safetensors").read_bytes() == expected
    assert trained == ["step1", "step2", "step1", "step2"]


def test_a_target_that_the_multiples_do_not_allow_is_named_before_any_training(monkeypatch: pytest.MonkeyPatch) -> None:
    message = (
        r"^prune\.target: 0\.01 of the baseline's cycles cannot be reached with prune\.multiple: 4; at least (\S+) can$"
    )
    with pytest.raises(ValueError, match=message) as error:
        run(monkeypatch, **TARGET | {"prune.target": 0.01, "prune.steps": 100})
    assert not Path("models/shrunk").exists() and not Path("models/.unfinished").exists()
    least = float(str(error.value).split()[-2])
    found = run(monkeypatch, **TARGET | {"prune.target": least, "prune.steps": 1})
    assert least - 0.001 < model_facts.facts(found)["shrunk"]["left"] <= least


def test_weights_that_are_no_numbers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    network = checkpoint.load(shrink.BASELINE)
    nn.init.constant_(network.classifier.linear.weight, float("nan"))
    checkpoint.save(shrink.BASELINE, network, {"seed": 1, "metrics": {}})
    with pytest.raises(ValueError, match=r"^models/baseline/model\.safetensors: NaN or .* classifier\.linear\.weight$"):
        run(monkeypatch, **TARGET)


@pytest.mark.parametrize(
    ("leaf", "value"),
    [
        ("target", 0),
        ("target", 1),
        ("target", 1.5),
        ("epochs", 0),
        ("steps", 0),
        ("importance", "size"),
        ("cost", "flops"),
    ],
)
def test_values_that_make_no_sense_are_named(leaf: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^prune\.{leaf}: "):
        tiny(**{f"prune.{leaf}": value})
