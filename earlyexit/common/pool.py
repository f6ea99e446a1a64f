"""Pools of worker processes that end with the process that started them."""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Literal

_PR_SET_PDEATHSIG = 1


@contextmanager
def workers(
    count: int, prepare: Callable[[], None] | None = None, *, method: Literal["spawn", "fork"] = "spawn"
) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of `count` processes that start at once; where the block fails, waiting tasks are dropped.

    On Linux the kernel kills the workers as soon as the thread that feeds the pool is gone, kill -9 included; one that
    is still starting ends when it has started.

    Args:
        count: processes.
        prepare: called first in each of them.
        method: fork starts in no time, and is safe only where the libraries in use keep no threads of their own.

    Raises:
        OSError: a worker was killed.
    """
    pool = ProcessPoolExecutor(count, multiprocessing.get_context(method), _start, (os.getpid(), prepare))
    try:
        for _ in range(count):
            pool.submit(os.getpid)  # Spawned processes start one a task, as none is idle yet; forked ones all at once.
        yield pool
    except BrokenProcessPool:
        raise OSError("a worker process was killed, perhaps for want of memory; free some and run again") from None
    finally:
        pool.shutdown(cancel_futures=True)


def end_with_parent(by: signal.Signals) -> None:
    """Have the kernel send `by` to this process when the thread that started it is gone, kill -9 included (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by)


def _start(parent: int, prepare: Callable[[], None] | None) -> None:
    # Ctrl-C reaches every process of the terminal: only the parent reports it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(signal.SIGKILL)
    # It may have died before the kernel was told.
    if os.getppid() != parent:
        os._exit(1)
    if prepare:
        prepare()
