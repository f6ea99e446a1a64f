import shutil
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from earlyexit.common.files import read_json
from earlyexit.model import checkpoint, facts
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.model.pretrained import load_pretrained, pretrained_architecture
from stages import prune, pruning
from tests import tiny_network
from tests.pruning.planted import plant
from tests.stages.tiny_params import tiny

SOURCES = {"baseline": Path("models/baseline"), "early_exit": Path("models/joint")}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for stage in (prune, pruning):
        monkeypatch.setattr(stage, "load", tiny)
    return tmp_path


def save(name: str, network: EarlyExitNetwork) -> None:
    SOURCES[name].mkdir(parents=True, exist_ok=True)
    checkpoint.save(SOURCES[name], network, {"seed": 1, "metrics": {"train/loss": 0.5}})


def run(monkeypatch: pytest.MonkeyPatch, name: str) -> Path:
    target = Path("models/pruned", name)
    monkeypatch.setattr(sys, "argv", ["prune", str(SOURCES[name]), str(target)])
    prune.main()
    return target


def baseline(family: tiny_network.Family = "mobilenet_v2") -> EarlyExitNetwork:
    return tiny_network.network(tiny_network.architecture(family, exits=[], head_channels=[]))


def joint() -> EarlyExitNetwork:
    return tiny_network.network(tiny_network.architecture())


def test_a_network_that_loses_nothing_keeps_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, network in (("baseline", baseline()), ("early_exit", joint())):
        save(name, network)
        target = run(monkeypatch, name)
        for file in ("model.json", "model.safetensors"):
            assert (target / file).read_bytes() == (SOURCES[name] / file).read_bytes()
        assert {group["channels"] - group["left"] for group in read_json(target / "channels.json")["groups"]} == {0}
    shutil.copytree(SOURCES["baseline"], "models/shrunk")
    pruning.main()
    lines = Path("reports/prune.md").read_text().split("\n")
    assert sum(line.endswith("no channel has one value for every image and can be removed.") for line in lines) == 2
    assert not any("|" in line for line in lines)


def test_a_pruned_network_is_written_with_its_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    network = joint()
    plant(network, "last", [0, 1, 2, 3], -1.0)
    save("early_exit", network)
    target = run(monkeypatch, "early_exit")
    assert checkpoint.load(target).architecture.widths.last == 12
    assert facts.facts(target) == {"seed": 1, "metrics": {"train/loss": 0.5}}


def test_exact_false_leaves_all_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "load", lambda: tiny(**{"prune.exact": False}))
    network = baseline()
    plant(network, "last", [0, 1, 2, 3], -1.0)
    save("baseline", network)
    target = run(monkeypatch, "baseline")
    assert (target / "model.safetensors").read_bytes() == (SOURCES["baseline"] / "model.safetensors").read_bytes()
    assert read_json(target / "channels.json") == {"exact": False, "multiple": 4, "groups": []}


def test_weights_that_are_no_numbers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    network = baseline()
    nn.init.constant_(network.classifier.linear.weight, float("nan"))
    save("baseline", network)
    with pytest.raises(
        ValueError, match=r"^models/baseline/model\.safetensors: NaN or .* in classifier\.linear\.weight$"
    ):
        run(monkeypatch, "baseline")
    assert not Path("models/pruned").exists()


def test_a_dead_layer_is_one_line_with_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    network = baseline()
    plant(network, "last", list(range(16)), -1.0)
    save("baseline", network)
    with pytest.raises(ValueError, match=r"^models/baseline: blocks\.last: its 16 outputs are the same .*final always"):
        run(monkeypatch, "baseline")


@pytest.mark.parametrize("value", [0, -4, 65, 2.5, "four"])
def test_a_multiple_that_is_none(value: object) -> None:
    with pytest.raises(ValueError, match=r"^prune\.multiple: "):
        tiny(**{"prune.multiple": value})


@pytest.mark.parametrize("family", tiny_network.FAMILIES)
def test_a_pruned_baseline_is_a_pretrained_file(family: tiny_network.Family, monkeypatch: pytest.MonkeyPatch) -> None:
    network = baseline(family)
    plant(network, "block4", [0, 1, 2, 3], 0.0)
    save("baseline", network)
    target = run(monkeypatch, "baseline")
    smaller = checkpoint.load(target)
    assert smaller.architecture.pruned is not None
    file = target / facts.WEIGHTS
    found = pretrained_architecture(network.architecture, file)
    assert found == smaller.architecture
    state = torch.random.get_rng_state()
    assert pretrained_architecture(network.architecture, SOURCES["baseline"] / facts.WEIGHTS) == network.architecture
    assert torch.equal(torch.random.get_rng_state(), state)
    again = EarlyExitNetwork(found)
    load_pretrained(again, file)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in smaller.state_dict().items())


def test_a_file_of_another_network_leaves_the_architecture(tmp_path: Path) -> None:
    plain = baseline().architecture
    save("early_exit", joint())
    assert pretrained_architecture(plain, SOURCES["early_exit"] / facts.WEIGHTS) == plain
    assert pretrained_architecture(plain, tmp_path / "missing.safetensors") == plain
    (tmp_path / "damaged.safetensors").write_bytes(b"no tensors")
    assert pretrained_architecture(plain, tmp_path / "damaged.safetensors") == plain
