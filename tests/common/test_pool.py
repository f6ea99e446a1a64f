import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from earlyexit.common import pool
from tests import ROOT

# Every worker says who it is, then sleeps for longer than any test waits.
SCRIPT = """
import os, sys, time
from earlyexit.common import pool

def wait(number):
    print(os.getpid(), flush=True)
    time.sleep(600)

if __name__ == "__main__":
    with pool.workers(2) as workers:
        list(workers.map(wait, range(8)))
"""


def die(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fail(number: int) -> int:
    if number == 0:
        raise ValueError("the first")
    time.sleep(0.2)
    return number


def note() -> None:
    os.environ["NOTED"] = "yes"


def noted(number: int) -> str:
    return os.environ["NOTED"]


def running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


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
        until = time.monotonic() + 1
        while any(map(running, workers)) and time.monotonic() < until:
            time.sleep(0.01)
        assert not any(map(running, workers))


def test_a_killed_worker_is_one_error() -> None:
    message = "a worker process was killed, perhaps for want of memory; free some and run again"
    with pytest.raises(OSError, match=message), pool.workers(2) as workers:
        list(workers.map(die, range(10)))


def test_a_failing_task_is_passed_on_and_the_waiting_ones_are_dropped() -> None:
    start = time.monotonic()
    with pytest.raises(ValueError, match="the first"), pool.workers(2) as workers:
        list(workers.map(fail, range(1000)))
    assert time.monotonic() - start < 60


def test_every_worker_is_prepared() -> None:
    with pool.workers(2, note) as workers:
        assert list(workers.map(noted, range(4))) == ["yes"] * 4
    assert "NOTED" not in os.environ
