import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from earlyexit.common import pool
from tests import ROOT
from tests.waiting import LONGER, running, wait_until

# Every worker says who it is, in one write: print may make two of a line, and those of two processes mix.
SCRIPT = f"""
import os, sys, time
from earlyexit.common import pool

def wait(number):
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep({LONGER})

if __name__ == "__main__":
    with pool.workers(2) as workers:
        list(workers.map(wait, range(8)))
"""


def die(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fail(folder: Path, number: int) -> None:
    if number == 0:
        raise ValueError("the first")
    (folder / str(number)).touch()
    time.sleep(0.1)


def note() -> None:
    os.environ["NOTED"] = "yes"


def noted(number: int) -> str:
    return os.environ["NOTED"]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's promise is Linux's")
def test_no_worker_outlives_a_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(tmp_path / "script.py")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        workers = [int(parent.stdout.readline()) for _ in range(2)]
        assert len(set(workers)) == 2 and all(map(running, workers))
        parent.kill()
        parent.wait()
        wait_until(lambda: not any(map(running, workers)))


def test_a_killed_worker_is_one_error() -> None:
    message = "a worker process was killed, .* free some memory and run again"
    with pytest.raises(OSError, match=message), pool.workers(2) as workers:
        list(workers.map(die, range(10)))


def test_a_failing_task_is_passed_on_and_the_waiting_ones_are_dropped(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the first"), pool.workers(2) as workers:
        list(workers.map(partial(fail, tmp_path), range(1000)))
    assert len(list(tmp_path.iterdir())) < 500


def test_every_worker_is_prepared() -> None:
    with pool.workers(2, note) as workers:
        assert list(workers.map(noted, range(4))) == ["yes"] * 4
    assert "NOTED" not in os.environ


@pytest.mark.parametrize("count", [1, 2])
def test_a_map_in_this_process_or_in_others(count: int) -> None:
    with pool.mapping(count, method="fork", chunksize=2) as spread:
        assert list(spread(pow, range(5), [2] * 5)) == [0, 1, 4, 9, 16]
