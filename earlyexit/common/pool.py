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
from functools import partial
from typing import Any, Literal

_PR_SET_PDEATHSIG = 1


@contextmanager
def workers(
    count: int, prepare: Callable[[], None] | None = None, *, method: Literal["spawn", "fork"] = "spawn"
) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of `count` processes that start at once. If the block fails, waiting tasks are dropped.

    On Linux the kernel kills the workers as soon as the thread that started the pool ends, even by kill -9. A worker
    that is still starting ends when it has started.

    Args:
        count: the number of processes.
        prepare: is called first in each of them.
        method: fork is fast, but safe only where the libraries in use keep no threads of their own.

    Raises:
        OSError: a worker was killed.
    """
    pool = ProcessPoolExecutor(count, multiprocessing.get_context(method), _start, (os.getpid(), prepare))
    try:
        for _ in range(count):
            pool.submit(os.getpid)  # Spawned processes start one a task, as none is idle yet; forked ones all at once.
        yield pool
    except BrokenProcessPool:
        raise OSError(
            "a worker process was killed, as the kernel does where memory runs out; free some memory and run again"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def mapping(
    count: int,
    prepare: Callable[[], None] | None = None,
    *,
    method: Literal["spawn", "fork"] = "spawn",
    chunksize: int = 1,
) -> Iterator[Callable[..., Iterator[Any]]]:
    """Yield a `map` that runs in `count` processes; for one it is Python's own, in this process.

    Args:
        count: the number of processes.
        prepare: see `workers`; it is not called for one process.
        method: see `workers`.
        chunksize: how many calls a process gets at a time.

    Raises:
        OSError: a worker was killed.
    """
    if count == 1:
        yield map
        return
    with workers(count, prepare, method=method) as processes:
        yield partial(processes.map, chunksize=chunksize)


def end_with_parent(by: signal.Signals) -> None:
    """Have the kernel send the signal `by` to this process when the thread that started it ends (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by)


def _start(parent: int, prepare: Callable[[], None] | None) -> None:
    # Ctrl-C reaches every process of the terminal: only the parent reports it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(signal.SIGKILL)
    # The parent may have ended before the kernel was told.
    if os.getppid() != parent:
        os._exit(1)
    if prepare:
        prepare()
