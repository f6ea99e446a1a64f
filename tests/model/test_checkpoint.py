import errno
import json
import resource
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file, save_file

from earlyexit.model import checkpoint
from earlyexit.model.architecture import Head
from earlyexit.model.network import EarlyExitNetwork
from tests import tiny_network
from tests.tiny_network import FAMILIES, Family


def save(folder: Path, network: EarlyExitNetwork) -> Path:
    folder.mkdir(exist_ok=True)
    checkpoint.save(folder, network, {"seed": 1, "metrics": {"train/loss": 0.5}})
    return folder


@pytest.fixture
def network() -> EarlyExitNetwork:
    return tiny_network.network(tiny_network.architecture())


@pytest.fixture
def folder(tmp_path: Path, network: EarlyExitNetwork) -> Path:
    return save(tmp_path / "joint", network)


def baseline(seed: int = 0) -> EarlyExitNetwork:
    return tiny_network.network(tiny_network.architecture(exits=[], head_channels=[]), seed)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", get_args(Head))
def test_round_trip(tmp_path: Path, family: Family, head: str) -> None:
    before = tiny_network.network(tiny_network.architecture(family, head=head))
    after = checkpoint.load(save(tmp_path, before))
    assert after.architecture == before.architecture
    expected = before.state_dict()
    assert list(after.state_dict()) == list(expected)
    assert all(torch.equal(value, expected[name]) for name, value in after.state_dict().items())
    facts = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    assert (facts["seed"], facts["metrics"]) == (1, {"train/loss": 0.5})


def test_same_network_same_bytes_whatever_its_memory_layout(tmp_path: Path, network: EarlyExitNetwork) -> None:
    first = save(tmp_path / "a", network)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    second = save(tmp_path / "b", network)
    for name in ("model.safetensors", "model.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_is_safetensors_and_json_and_nothing_else(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.safetensors"]
    content = (folder / "model.safetensors").read_bytes()
    header = content[8 : 8 + int.from_bytes(content[:8], "little")]
    assert "classifier.linear.weight" in json.loads(header)


def test_the_baseline_becomes_backbone_and_final_classifier(tmp_path: Path, network: EarlyExitNetwork) -> None:
    exits = {name: value.clone() for name, value in network.state_dict().items() if name.startswith("exits.")}
    other = baseline(seed=7)
    checkpoint.load_backbone(network, save(tmp_path, other))
    for name, value in network.state_dict().items():
        expected = exits[name] if name.startswith("exits.") else other.state_dict()[name]
        assert torch.equal(value, expected)


def test_a_baseline_of_another_shape_lists_all_that_does_not_fit(tmp_path: Path, network: EarlyExitNetwork) -> None:
    folder = save(tmp_path, baseline())
    tensors = load_file(folder / "model.safetensors")
    del tensors["blocks.stem.conv.weight"]
    tensors["classifier.linear.bias"] = torch.zeros(3)
    tensors["classifier.extra"] = torch.zeros(1)
    save_file(tensors, folder / "model.safetensors")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=r"model\.safetensors does not fit the network") as caught:
        checkpoint.load_backbone(network, folder)
    problems = str(caught.value).partition("network: ")[2].split("; ")
    assert problems == [
        "blocks.stem.conv.weight missing",
        "classifier.extra unknown",
        "classifier.linear.bias has shape (3,), not (2,)",
    ]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_weights_of_another_architecture(tmp_path: Path, folder: Path) -> None:
    other = save(tmp_path / "other", tiny_network.network(tiny_network.architecture("mobilenet_v1")))
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"model\.safetensors does not fit.*blocks\.last\.conv\.weight missing"):
        checkpoint.load(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        checkpoint.load(folder)


def test_facts_that_are_no_json(folder: Path) -> None:
    (folder / "model.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"model\.json: not valid JSON"):
        checkpoint.load(folder)


@pytest.mark.parametrize("limit", [100, 3000])
def test_a_full_disk_names_the_file_and_leaves_what_was_there(
    folder: Path, network: EarlyExitNetwork, limit: int
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    sizes = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, sizes[1]))
    try:
        with pytest.raises(OSError, match=r"model\.safetensors: not written: File too large \(") as caught:
            save(folder, network)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, sizes)
    assert caught.value.errno == errno.EFBIG
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_both_files_have_the_permissions_of_new_files(folder: Path) -> None:
    (folder / "other").touch()
    modes = {path.stat().st_mode for path in folder.iterdir()}
    assert len(modes) == 1
