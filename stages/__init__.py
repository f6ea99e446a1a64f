"""The stages of the workflow: one script each, named as the stage in dvc.yaml, run as `python -m stages.NAME`."""

import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from earlyexit.common.files import DENIED, FULL, replacing
from earlyexit.common.pool import end_with_parent

FREE = (
    "free some space, or use a disk that holds files of that size, and run `dvc repro` again: finished stages are kept"
)
WRITABLE = "make it writable for this user and run `dvc repro` again: finished stages are kept"
MEMORY = "lower the stage's batch_size or data.resolution in params.yaml, or run it where more memory is free"
GPU = "lower the stage's batch_size in params.yaml, or set train.device: cpu"
INTERRUPTED = "interrupted; `dvc repro` goes on from here: finished stages are kept"


def run(main: Callable[[], None]) -> None:
    """Run a stage; what a user can mend ends it with one clear line and status 1 instead of a traceback.

    That is wrong input, a failing disk, too little memory and a killed worker. Ctrl-C and SIGTERM end it with status
    130, after its unfinished outputs are removed. Any other exception is a bug and keeps its traceback.
    EARLYEXIT_TRACEBACK=1 shows the traceback of all.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _keep_lock()
        main()
    except BaseException as error:
        message = explain(error)
        if message is None or os.environ.get("EARLYEXIT_TRACEBACK"):
            raise
        if isinstance(error, KeyboardInterrupt):
            print(message, file=sys.stderr)
            sys.exit(130)
        sys.exit(f"error: {message}")


def explain(error: BaseException) -> str | None:
    """What is wrong and what to do, in one line; None for a bug of the project."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, OSError):
        return _explain_os(error)
    if isinstance(error, ValueError):
        return str(error)
    said = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "DefaultCPUAllocator: can't allocate" in said:
        return f"out of memory ({said or 'no further word'}): {MEMORY}"
    if type(error).__name__ == "OutOfMemoryError":  # PyTorch's, without an import of PyTorch.
        return f"out of GPU memory ({said}): {GPU}"
    if code := re.search(r"\(os error (\d+)\)", said):  # safetensors' own error for a failing disk
        return _explain_os(OSError(int(code[1]), said))
    return None


def _explain_os(error: OSError) -> str:
    said = error.strerror or str(error)
    if error.filename is not None:
        said = f"{error.filename}: {said}"
    if error.errno in FULL:
        return f"{said}; {FREE}"
    if error.errno in DENIED:
        return f"{said}; {WRITABLE}"
    return said


def _keep_lock() -> None:
    """Copy dvc.lock to where experiments.mend finds it: DVC rewrites it in place, though not while a stage runs."""
    if "DVC_STAGE" in os.environ and Path("dvc.lock").exists():
        with replacing(".dvc/tmp/dvc.lock") as part:
            shutil.copyfile("dvc.lock", part)


def _end_with_dvc() -> None:
    """Have the kernel end a stage whose DVC was killed (Linux); an orphaned stage would collide with the next run."""
    if "DVC_STAGE" in os.environ:
        end_with_parent(signal.SIGTERM)


_end_with_dvc()
