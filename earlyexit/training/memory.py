"""How much memory this process may still take: what the machine has left, or less in a container."""

from collections.abc import Iterator
from pathlib import Path

import psutil

GROUPS = Path("/proc/self/cgroup")
MOUNT = Path("/sys/fs/cgroup")

# Names of the files with a control group's limit and use, and of the entry of memory.stat that counts file pages that
# the kernel can drop: version 2, version 1. https://docs.kernel.org/admin-guide/cgroup-v2.html, cgroup-v1/memory.html
_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def available() -> int:
    """Return the bytes that this process can take before the machine, or a control group that it is in, is full."""
    return max(0, min([psutil.virtual_memory().available, *_left_in_groups()]))


def _left_in_groups() -> Iterator[int]:
    """Yield what is left of the limit of each control group that holds this process."""
    for line in GROUPS.read_text().splitlines() if GROUPS.exists() else []:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            mount, names = (MOUNT / "memory", _V1) if controllers else (MOUNT, _V2)
            place = mount / path.lstrip("/")
            # In a container the path can be the host's; the mount itself is then the container's group.
            for folder in (place, *place.parents):
                if folder.is_relative_to(mount):
                    yield from _left(folder, *names)


def _left(folder: Path, limit: str, use: str, droppable: str) -> Iterator[int]:
    """Yield what is left of the limit of one control group; nothing if it has none."""
    try:
        most, used = (folder / limit).read_text().strip(), int((folder / use).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except OSError:
        return
    if most != "max":
        yield int(most) - used + int(stat[droppable])
