"""The memory of processes."""

import psutil


def resident(process: int) -> int:
    """Return the bytes in the resident sets of a process and of all below it, mapped files too; 0 once it has ended."""
    total = 0
    try:
        top = psutil.Process(process)
        family = [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total
