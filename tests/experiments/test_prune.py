import json
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments import prune


class Finished:
    """What `finished.Experiment` is asked for."""

    def __init__(self, seed: int, target: float | None) -> None:
        self.seed, self.target = seed, target

    def param(self, leaf: str) -> Any:
        return {"train.seed": self.seed, "prune.target": self.target}[leaf]

    def report(self, name: str) -> Any:
        share = self.target or 1.0
        if name == "emulated.json":
            return {"baseline": {"cycles": 1000 * share}}
        if name == "metrics.json":
            return {"int8_baseline": {"accuracy": 0.8 + 0.01 * self.seed - 0.1 * (1 - share)}}
        val = {"accuracy": 0.81 + 0.01 * self.seed - 0.1 * (1 - share), "speedup_emulated": 2.0}
        return {"n": 2000, "policies": [{"name": name, "val": val} for name in ("p50", "searched_0", "guaranteed")]}


def test_gains_are_against_the_unpruned_baseline_of_the_same_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports/sweeps").mkdir(parents=True)
    experiments = [Finished(seed, target) for target in (0.5, None) for seed in (2, 1)]
    monkeypatch.setattr(prune, "find", lambda sweep: experiments)
    monkeypatch.setattr(sys, "argv", ["", "trial"])
    prune.main()
    lines = [line for line in Path("reports/sweeps/trial.md").read_text().splitlines() if line.startswith("|")]
    assert lines[2] == "| - | no exits | 81.50 ± 0.71 | 0.00 ± 0.00 | 1.00 ± 0.00x |"
    assert lines[3] == "| - | p50 | 82.50 ± 0.71 | -1.00 ± 0.00 | 2.00 ± 0.00x |"
    assert lines[6] == "| 0.5 | no exits | 76.50 ± 0.71 | 5.00 ± 0.00 | 2.00 ± 0.00x |"
    assert lines[7] == "| 0.5 | p50 | 77.50 ± 0.71 | 4.00 ± 0.00 | 4.00 ± 0.00x |"
    assert json.loads(Path("reports/sweeps/trial.json").read_text())["seeds"] == [1, 2]
    assert Path("reports/sweeps/trial.png").stat().st_size > 10_000


def test_a_seed_without_an_unpruned_run_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"^no experiment with prune\.target: null for train\.seed 3$"):
        prune.rows([Finished(1, None), Finished(1, 0.5), Finished(3, 0.5)])  # type: ignore[list-item]
