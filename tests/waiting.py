"""What tests of several processes share. Limits are generous: a wait ends as soon as its condition holds."""

import time
from collections.abc import Callable
from pathlib import Path

LONG = 300.0
"""Seconds that no test needs, even on a machine that others use too."""
LONGER = 2 * LONG
"""Seconds that a process sleeps which must not end by itself."""


def wait_until(condition: Callable[[], bool]) -> None:
    """Return as soon as `condition()` holds.

    Raises:
        TimeoutError: it does not within `LONG`.
    """
    end = time.monotonic() + LONG
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {LONG:g} seconds")
        time.sleep(0.005)


def running(process: int) -> bool:
    """Return whether a process exists and has not ended (Linux)."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
