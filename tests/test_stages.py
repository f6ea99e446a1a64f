"""How a stage ends: its own end, an error that a user can mend, an interrupt, a bug."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

import stages
from earlyexit.common.files import replacing_folder
from tests import ROOT
from tests.waiting import LONG, LONGER, wait_until

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="prctl")
# A background job of a shell inherits that Ctrl-C is ignored.
STAGE = f"""
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from stages import run
from earlyexit.common.files import replacing_folder
def main():
    with replacing_folder(sys.argv[1]) as part:
        (part / "half").write_text("half")
        print(os.getpid(), flush=True)
        time.sleep({LONGER})
run(main)
"""


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("EARLYEXIT_TRACEBACK", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def raising(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


class OutOfMemoryError(RuntimeError):
    pass


@contextmanager
def running(out: Path) -> Iterator["subprocess.Popen[str]"]:
    """A stage that has begun to write `out`; killed at the end where it has not ended."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", STAGE, str(out)]
    with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            assert int(process.stdout.readline()) == process.pid
            yield process
        finally:
            process.kill()


CASES = [
    (ValueError("train.seed: -1, should be 0 or more"), "train.seed: -1, should be 0 or more"),
    (FileNotFoundError("data.source: no such folder: x"), "data.source: no such folder: x"),
    (FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "a.npy"), "a.npy: No such file or directory"),
    (OSError(errno.ENOSPC, "data/raw: not written: No space left on device (0 bytes free)"), stages.FREE),
    (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), f"{os.strerror(errno.EDQUOT)}; {stages.FREE}"),
    (OSError(errno.EFBIG, os.strerror(errno.EFBIG), "a"), f"a: File too large; {stages.FREE}"),
    (OSError(errno.EROFS, os.strerror(errno.EROFS), "a"), f"a: Read-only file system; {stages.WRITABLE}"),
    (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "a"), f"a: Permission denied; {stages.WRITABLE}"),
    (MemoryError(), f"out of memory (no further word): {stages.MEMORY}"),
    (OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB"), "(CUDA out of memory. Tried to allocate 2 GiB)"),
    (SafetensorError("I/O error: No space left on device (os error 28)"), stages.FREE),
]


@pytest.mark.parametrize(("error", "words"), CASES, ids=lambda value: type(value).__name__)
def test_what_a_user_can_mend_is_one_line(error: BaseException, words: str) -> None:
    with pytest.raises(SystemExit) as caught:
        stages.run(raising(error))
    message = str(caught.value.code)  # as text: printed on stderr, exit status 1
    assert message.startswith("error: ")
    assert words in message
    assert "\n" not in message


def test_real_memory_errors_are_recognized() -> None:
    def numpy_array() -> None:
        np.empty(2**60, np.uint8)

    def tensor() -> None:
        torch.empty(2**60, dtype=torch.uint8)

    for allocate in (numpy_array, tensor):
        with pytest.raises(SystemExit, match=r"^error: out of memory \(.*\): lower"):
            stages.run(allocate)


def test_pytorch_still_calls_it_so() -> None:
    assert torch.OutOfMemoryError.__name__ == "OutOfMemoryError"


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("x"), AssertionError(), ZeroDivisionError()])
def test_a_bug_keeps_its_traceback(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        stages.run(raising(error))
    assert caught.value is error


@pytest.mark.parametrize("error", [ValueError("x"), OSError("x"), KeyboardInterrupt()])
def test_a_traceback_on_request(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    monkeypatch.setenv("EARLYEXIT_TRACEBACK", "1")
    with pytest.raises(type(error)):
        stages.run(raising(error))


def test_a_stage_may_exit_by_itself() -> None:
    with pytest.raises(SystemExit) as caught:
        stages.run(lambda: sys.exit(3))
    assert caught.value.code == 3


@pytest.mark.parametrize("by_dvc", [True, False])
def test_a_stage_keeps_a_copy_of_dvcs_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_dvc: bool) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    if by_dvc:
        monkeypatch.setenv("DVC_STAGE", "design")
    stages.run(lambda: None)
    assert list(tmp_path.iterdir()) == []
    Path("dvc.lock").write_text("stages: {}\n")
    stages.run(lambda: None)
    kept = Path(".dvc/tmp/dvc.lock")
    assert kept.exists() == by_dvc
    assert not by_dvc or kept.read_text() == "stages: {}\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_removes_the_part(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path / "out") as stage:
        assert len(list(tmp_path.iterdir())) == 1
        stage.send_signal(number)
        _, said = stage.communicate(timeout=LONG)
    assert (stage.returncode, said) == (130, f"{stages.INTERRUPTED}\n")
    assert list(tmp_path.iterdir()) == []


def test_after_a_kill_the_next_run_removes_the_part(tmp_path: Path) -> None:
    with running(tmp_path / "out") as stage:
        stage.kill()
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
    with replacing_folder(tmp_path / "out"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@LINUX
@pytest.mark.parametrize("by_dvc", [True, False])
def test_a_stage_ends_with_dvc_but_not_with_another_parent(tmp_path: Path, by_dvc: bool) -> None:
    script = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    environment = {**os.environ, "DVC_STAGE": "design"} if by_dvc else os.environ
    command = [sys.executable, "-c", script, sys.executable, "-c", STAGE, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, env=environment) as dvc:
        assert dvc.stdout is not None
        stage = int(dvc.stdout.readline())
        dvc.kill()
        dvc.wait()
        if not by_dvc:
            time.sleep(0.2)
            assert list(tmp_path.iterdir())  # it has not cleaned up: it still lives
            os.kill(stage, signal.SIGTERM)
    wait_until(lambda: not list(tmp_path.iterdir()))
