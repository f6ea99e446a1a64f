from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from earlyexit import dataset
from earlyexit.common.files import read_json, write_json
from earlyexit.model import checkpoint
from earlyexit.model.architecture import Attached
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.params import Params
from earlyexit.training.candidates import train_candidates
from earlyexit.training.trainers import Session
from stages import candidates, design, disjoint, placement
from tests import tiny_network
from tests.stages.tiny_params import tiny

SEARCHED = {
    "exits.placement": "searched",
    "placement.heads": "[strided, pooled]",
    "placement.epochs": 1,
    "disjoint.epochs": 1,
    "train.threads": 1,
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_json(tmp_path / "models/teacher/teacher.json", {"model": None})
    monkeypatch.setattr(dataset, "open_split", lambda folder, split: split_of(split))
    return tmp_path


def split_of(name: str) -> dataset.PackedSplit:
    return tiny_network.dark_and_bright(48, 32, seed={"train": 0, "calibration": 1}[name])


def use(monkeypatch: pytest.MonkeyPatch, **leaves: Any) -> Params:
    params = tiny(**{"exits.channels": 8, "joint.w_exits": 0.3, **leaves})
    for stage in (candidates, design, disjoint, placement):
        monkeypatch.setattr(stage, "load", lambda: params)
    return params


def write_baseline(params: Params) -> None:
    torch.manual_seed(0)
    folder = Path("models/baseline")
    folder.mkdir()
    checkpoint.save(folder, EarlyExitNetwork(params.baseline_architecture()), {"metrics": {}})


def test_given_exits_are_taken_and_nothing_is_trained(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = use(monkeypatch)
    candidates.main()  # there is no baseline that it could read
    placement.main()
    assert [path.name for path in (root / "models/candidates").iterdir()] == ["none"]
    assert read_json("models/placement.json") == params.given().model_dump()
    assert read_json("reports/placement.json")["placement"] == "given"
    assert (root / "reports/placement.md").read_text().startswith("exits.placement is given: exits after block1, ")


def test_searched_exits_are_those_that_the_report_chose(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = use(monkeypatch, **SEARCHED)
    write_baseline(params)
    candidates.main()
    placement.main()
    found = read_json("reports/placement.json")
    attached = Attached.model_validate(read_json("models/placement.json"))
    assert attached.model_dump() == {key: found["chosen"][key] for key in ("exits", "head")}
    assert attached.head in ("strided", "pooled")
    network = EarlyExitNetwork(params.with_exits(attached))
    assert network.architecture.exits == attached.exits


def test_the_candidates_are_those_of_the_params(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = use(monkeypatch, **SEARCHED)
    write_baseline(params)
    seen: list[Any] = []

    def train(*args: Any, **named: Any) -> Any:
        seen.append((args, named))
        return train_candidates(*args, **named)

    monkeypatch.setattr("earlyexit.training.candidates.train_candidates", train)
    candidates.main()
    ((_, heads, channels, recipe, *_), named) = seen[0]
    assert (heads, channels, recipe.epochs) == (["strided", "pooled"], 8, 1)
    assert recipe == params.disjoint.model_copy(update={"epochs": 1})
    assert named["images"] == params.placement.images


def test_stage_a_attaches_what_was_placed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = use(monkeypatch)
    write_baseline(params)
    write_json("models/placement.json", {"exits": ["block2"], "head": "strided"})

    def stop(network: EarlyExitNetwork, recipe: Any, session: Session) -> dict[str, float]:
        architecture = network.architecture
        assert (architecture.exits, architecture.head, architecture.head_channels) == (["block2"], "strided", [8])
        raise InterruptedError

    monkeypatch.setattr(disjoint, "train_exits", stop)
    monkeypatch.setattr("stages.logs.open_split", lambda folder, split: split_of(split))
    with pytest.raises(InterruptedError):
        disjoint.main()


def test_the_design_of_searched_exits_is_that_of_all_sets(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, **SEARCHED)
    design.main()
    assert "| 3 | strided | 10 | 0 | 0 | 10 |" in (root / "reports/design.md").read_text()
    assert (root / "models/within_budget").exists()


@pytest.mark.parametrize("leaf", ["memory.flash_limit", "memory.sram_limit"])
def test_a_budget_that_no_set_meets_stops_before_the_training(
    root: Path, monkeypatch: pytest.MonkeyPatch, leaf: str
) -> None:
    use(monkeypatch, **SEARCHED, **{f"{leaf}.mobilenet_v2": 1000})
    with pytest.raises(ValueError, match=rf"^{leaf}: the smallest set of exits, block\d.* needs [\d,]+ of 1,000 bytes"):
        design.main()
    assert not (root / "models/within_budget").exists()
    assert np.all([word in (root / "reports/design.md").read_text() for word in ("over flash", "over SRAM")])
