"""What processes use."""

from typing import NamedTuple

import psutil


class Usage(NamedTuple):
    """Bytes in the resident sets of processes, mapped files included; seconds of CPU that they have taken so far."""

    memory: int
    cpu: float


def usage(process: int) -> Usage:
    """Return what a process and all below it use, with the CPU seconds of those that have ended; 0 if it has ended."""
    memory, cpu = 0, 0.0
    try:
        top = psutil.Process(process)
        family = [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return Usage(0, 0.0)
    for member in family:
        try:
            memory += member.memory_info().rss
            times = member.cpu_times()
        except psutil.NoSuchProcess:
            continue
        cpu += times.user + times.system + times.children_user + times.children_system
    return Usage(memory, cpu)
