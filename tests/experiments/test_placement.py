import json
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments import placement

EXITS = {"given": ["block2", "block4"], "searched": ["block3", "block5"]}


class Finished:
    """What `finished.Experiment` is asked for."""

    def __init__(self, seed: int, arm: str) -> None:
        self.seed, self.arm = seed, arm

    def param(self, leaf: str) -> Any:
        return {"train.seed": self.seed, "model.backbone": "mobilenet_v2"}[leaf]

    def report(self, name: str) -> Any:
        exits = {"exits": EXITS[self.arm], "head": "strided"}
        if name == "placement.json":
            return {
                "placement": self.arm,
                **({"chosen": {**exits, "speedup": 2.5}} if self.arm == "searched" else exits),
            }
        speedup = self.seed + (0.5 if self.arm == "searched" else 0)
        kept = {"accuracy": 0.8, "loss": 0.001 * self.seed, "speedup_emulated": speedup}
        policies = [{"name": name, "val": kept} for name in ("p50", "searched_0", "searched_0.005")]
        return {"n": 2000, "whole": {"accuracy": 0.81}, "policies": policies}

    def read(self, path: str) -> bytes:
        return f"{path} of {self.arm} {self.seed}".encode()


def test_either_placement_is_listed_by_seed_with_its_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports/sweeps").mkdir(parents=True)
    experiments = [Finished(seed, arm) for arm in ("searched", "given") for seed in (2, 1)]
    monkeypatch.setattr(placement, "find", lambda sweep: experiments)
    monkeypatch.setattr(sys, "argv", ["", "trial"])
    placement.main()
    text = (tmp_path / "reports/sweeps/trial_mobilenet_v2.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2] == (
        "| 1 | given | block2, block4 | strided | 81.00 | 80.00 | 0.10 | 1.00x | 80.00 | 0.10 | 1.00x |"
    )
    assert [line.split("|")[1:3] for line in lines[2:]] == [
        [" 1 ", " given "],
        [" 1 ", " searched "],
        [" 2 ", " given "],
        [" 2 ", " searched "],
        [" **mean** ", " given "],
        [" **mean** ", " searched "],
    ]
    assert lines[-1] == "| **mean** | searched | | | 81.00 | 80.00 | 0.15 | 2.00x | 80.00 | 0.15 | 2.00x |"
    rows = json.loads((tmp_path / "reports/sweeps/trial_mobilenet_v2.json").read_text())
    assert {row["placement"]: row["predicted"] for row in rows} == {"given": None, "searched": 2.5}


def test_the_search_of_the_first_seed_is_kept_with_its_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports/sweeps").mkdir(parents=True)
    monkeypatch.setattr(
        placement, "find", lambda sweep: [Finished(1, "given"), Finished(3, "searched"), Finished(2, "searched")]
    )
    monkeypatch.setattr(sys, "argv", ["", "trial"])
    placement.main()
    kept = {path.suffix: path.read_bytes() for path in (tmp_path / "reports/sweeps").glob("*_sets.*")}
    assert json.loads(kept[".json"])["chosen"]["exits"] == EXITS["searched"]
    assert kept[".md"] == b"reports/placement.md of searched 2"
    assert kept[".png"] == b"reports/plots/placement.png of searched 2"
