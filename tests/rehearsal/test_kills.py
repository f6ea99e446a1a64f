"""The whole workflow on a miniature configuration, twice, as a user runs it: undisturbed, and through kills."""

import json
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from experiments.mend import damaged
from rehearsal.kills import VICTIMS, Moment, Passage, Repro, faults, finished_stages, mend, torment
from rehearsal.miniature import environment, files, make, unmeasured

# In the order in which DVC runs them: worker processes, saved epochs, a compiler, and reports outside of DVC's cache.
# `rehearsal.soak` kills every stage.
KILLED = ("prepare", "baseline", "emulate", "plots")
RESUMED = "baseline"  # killed after its first epoch, before its last
EPOCHS = {RESUMED: {"epochs": 40}}  # seconds from the first to the last, within which a busy machine sees the first

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Twins:
    """Two folders in which the same workflow ran."""

    undisturbed: Path
    killed: Path
    passage: Passage


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    undisturbed, killed = (make(tmp_path_factory.mktemp(name), EPOCHS) for name in ("undisturbed", "killed"))
    durations = Repro(undisturbed).durations()
    rng = random.Random(1)
    plan = [
        Moment(stage, 0 if stage == RESUMED else rng.random() * durations[stage], victim, resume=stage == RESUMED)
        for stage, victim in zip(KILLED, VICTIMS, strict=True)
    ]
    return Twins(undisturbed, killed, torment(killed, plan))


def test_kills_lose_nothing(twins: Twins) -> None:
    kills = twins.passage.kills
    assert len(kills) == len(KILLED)
    assert {kill.victim for kill in kills} == set(VICTIMS)
    assert twins.passage.resumed >= 1, [(kill.stage, kill.seconds, kill.running) for kill in kills]
    assert faults(twins.undisturbed, twins.killed, twins.passage) == []


def test_same_seed_same_bytes(twins: Twins) -> None:
    first, second = unmeasured(twins.undisturbed), unmeasured(twins.killed)
    assert {"models/baseline", "models/joint", "models/int8/early_exit", "models/evaluation"} <= first.keys()
    assert first == second


def test_reports_agree_but_for_measured_times(twins: Twins) -> None:
    folders = (twins.undisturbed, twins.killed)
    tables = [json.loads((folder / "reports/table1.json").read_text()) for folder in folders]
    assert tables[0][0]["configuration"] == "fp32"
    for table in tables:
        for row in table:
            row.pop("speedup_measured")
    assert tables[0] == tables[1]
    frontiers = [pd.read_csv(folder / "reports/frontier.csv").drop(columns="speedup_measured") for folder in folders]
    assert list(frontiers[0]["percentile"]) == list(range(101))
    pd.testing.assert_frame_equal(frontiers[0], frontiers[1])


def test_the_plots_are_there(twins: Twins) -> None:
    plots = twins.undisturbed / "reports/plots"
    tables = {path.stem for path in plots.glob("*.csv")} - {"frontier_points"}
    assert tables <= {path.stem for path in plots.glob("*.png")}
    assert len(list(plots.glob("*.png"))) >= 8


def test_nothing_is_rerun_when_nothing_changed(twins: Twins) -> None:
    assert Repro(twins.undisturbed).finish() == []


def test_damaged_files_of_dvcs_own_cost_no_more_than_the_stage_at_hand(twins: Twins) -> None:
    before = files(twins.killed)
    lock, rwlock = twins.killed / "dvc.lock", twins.killed / ".dvc/tmp/rwlock"
    whole = lock.read_bytes()
    for content in (b"", whole[:-40], whole[: whole.index(b"md5", len(whole) // 2) + 1]):  # cut within a line
        lock.write_bytes(content)
        rwlock.write_bytes(b'{"read": ')
        assert damaged(twins.killed) == ["dvc.lock", ".dvc/tmp/rwlock"]
        mend(twins.killed)
        assert len(finished_stages(twins.killed)) >= 18
        assert not rwlock.exists()
    assert damaged(twins.killed) == []
    assert Repro(twins.killed).finish() in ([], ["report"])
    assert files(twins.killed) == before


def test_a_wrong_param_ends_a_stage_with_one_clear_line(twins: Twins) -> None:
    path = twins.killed / "params.yaml"
    path.write_text(path.read_text().replace("w_final: 1.0", "w_final: -1.0"))
    done = subprocess.run(
        [sys.executable, "-m", "stages.prepare"],  # imports no PyTorch; each stage reads all params
        cwd=twins.killed,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "joint.w_final" in done.stderr
    assert "Traceback" not in done.stderr
