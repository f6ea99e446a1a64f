import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import full_scale
from benchmarks.full_scale import OFFICIAL, ONE_EPOCH, Cost, Measured, Spent, cost, disk_used, kinds_of_epochs, watched
from benchmarks.usage import Usage, usage
from earlyexit.params import load, overridden
from experiments.recipes import VWW
from tests import ROOT

GB = 10**9


def measured(stage: str, spent: Spent, *epochs: Spent) -> Measured:
    return Measured(stage, spent, 2 * GB, GB, list(epochs), 1.5)


def test_the_other_epochs_of_the_recipe_are_computed_from_the_measured_ones() -> None:
    ran = measured("baseline", Spent(50, 80), Spent(10, 15), Spent(30, 50))
    found = cost(ran, [(30, "small epochs"), (15, "full epochs")], OFFICIAL)
    assert found.spent == Spent(50 + 29 * 10 + 14 * 30, 80 + 29 * 15 + 14 * 50)
    assert found.basis == "30 small epochs, 15 full epochs, computed from a measured one"
    assert (found.memory, found.disk) == (2 * GB, GB)


def test_what_trains_nothing_is_measured() -> None:
    ran = measured("prepare", Spent(50, 80))
    assert cost(ran, [], OFFICIAL // 4) == Cost("prepare", "measured", ran.spent, ran.memory, ran.disk)


def test_a_download_of_smaller_archives_is_computed_for_the_official_ones() -> None:
    ran = measured("download", Spent(50, 80))
    found = cost(ran, [], OFFICIAL // 4)
    assert found.spent == pytest.approx((200, 320))
    assert found.disk == pytest.approx(4 * GB)
    assert found.memory == 2 * GB
    assert found.basis == "computed for 20.4 GB from measured 5.1 GB"
    assert cost(ran, [], OFFICIAL).basis == "measured"


def test_an_epoch_that_was_not_seen_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        cost(measured("joint", Spent(50, 80)), [(10, "epochs")], OFFICIAL)


def test_one_epoch_of_each_kind_is_run() -> None:
    recipe, run = (
        kinds_of_epochs(overridden(load(ROOT / "params.yaml"), changes)) for changes in (VWW, [*VWW, *ONE_EPOCH])
    )
    assert recipe.keys() == run.keys()
    assert {count for kinds in run.values() for count, _ in kinds} == {1}
    assert [kind for _, kind in recipe["baseline"]] == [kind for _, kind in run["baseline"]]


def test_the_table_ends_with_the_sum() -> None:
    costs = [
        Cost("download", "measured", Spent(1800.4, 100), GB, 20 * GB),
        Cost("joint", "10 epochs, computed from a measured one", Spent(3600, 7200), 3 * GB, 0),
    ]
    lines = full_scale.markdown(costs, ["a note"]).splitlines()
    assert lines[2] == "| download | measured | 1,800 | 100 | 1.0 | 20.0 |"
    assert lines[3] == "| joint | 10 epochs, computed from a measured one | 3,600 | 7,200 | 3.0 | - |"
    assert lines[4].split("**")[1::2] == [
        "all",
        "sum; of memory the largest",
        "5,400 (1.5 h)",
        "7,300 (2.0 h)",
        "3.0",
        "20.0",
    ]
    assert lines[-1] == "a note"


def test_what_was_measured_is_kept_as_json() -> None:
    ran = measured("joint", Spent(50.5, 80), Spent(10, 15))
    assert Measured.read(json.loads(json.dumps(asdict(ran)))) == ran


def test_a_file_with_two_names_takes_disk_once(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    empty = disk_used(tmp_path)
    (tmp_path / "file").write_bytes(os.urandom(100_000))
    one = disk_used(tmp_path)
    os.link(tmp_path / "file", tmp_path / "folder/other")
    assert disk_used(tmp_path) == one >= empty + 100_000


def test_use_counts_children_and_those_that_have_ended() -> None:
    busy = "import time\nwhile time.process_time() < 0.4: pass"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}]); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        found = usage(process.pid)
        assert found.cpu >= 0.3  # the kernel's clock of processes has ticks of 0.01 s
        assert 10**6 < found.memory < usage(os.getpid()).memory
        process.stdin.close()
    assert usage(process.pid) == Usage(0, 0.0)


class Acted:
    """A `dvc repro` that plays a script: at each look, the log grows and files appear."""

    def __init__(self, folder: Path, acts: list[tuple[str, int]]) -> None:
        self.folder, self.acts, self.log, self.saved = folder, iter(acts), "", 0
        self.process: Any = SimpleNamespace(pid=os.getpid(), poll=self.poll)

    def poll(self) -> int | None:
        act = next(self.acts, None)
        if act is None:
            return 0
        self.log += act[0]
        if act[1] != self.saved:
            self.saved = act[1]
            path = self.folder / "models/.unfinished/baseline/state.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
            os.utime(path, (self.saved, self.saved))
        return None

    def output(self) -> str:
        return self.log

    def started(self) -> list[str]:
        return [line.split("'")[1] for line in self.log.splitlines() if line.startswith("Running stage")]

    def finish(self) -> list[str]:
        return self.started()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each look takes ten seconds, and a second of CPU for each."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += 10

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(full_scale, "usage", lambda pid: Usage(int(now[0]), now[0]))
    yield


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("last_seen", [True, False])
def test_stages_and_epochs_are_told_apart(tmp_path: Path, last_seen: bool) -> None:
    acts = [
        ("", 0),
        ("Running stage 'prepare':\nprepare:   0%|\n", 0),
        ("", 0),
        ("Running stage 'baseline':\n", 0),
        ("", 0),
        ("baseline:   0%|          | 0/90\n", 0),
        ("", 0),
        ("", 1),
        ("", 1),
        ("", 2 if last_seen else 1),
    ]
    repro: Any = Acted(tmp_path, acts)
    prepare, baseline = watched(repro, {"baseline": 2})
    assert (prepare.stage, prepare.spent.seconds, prepare.epochs) == ("prepare", 20, [])
    assert (baseline.stage, baseline.spent.seconds) == ("baseline", 70)
    assert [one.seconds for one in baseline.epochs] == [20, 20 if last_seen else 30]
    assert baseline.memory == 90
