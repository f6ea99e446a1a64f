from pathlib import Path

import psutil
import pytest
import torch

from earlyexit.training import batches, distributed, memory

GB = 10**9
V2 = {"memory.max": f"{8 * GB}\n", "memory.current": f"{3 * GB}\n", "memory.stat": f"anon 1\ninactive_file {GB}\n"}
V1 = {
    "memory.limit_in_bytes": f"{8 * GB}\n",
    "memory.usage_in_bytes": f"{3 * GB}\n",
    "memory.stat": f"inactive_file 7\ntotal_inactive_file {GB}\n",
}


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 20 GB left; the file system that describes its control groups."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 20 * GB}))
    monkeypatch.setattr(memory, "MOUNT", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "of_this_process")
    return tmp_path


def group(machine: Path, of_this_process: str, place: str, files: dict[str, str]) -> None:
    (machine / "of_this_process").write_text(of_this_process)
    folder = machine / "cgroup" / place
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(content)


def test_without_control_groups_it_is_what_the_machine_has_left() -> None:
    assert memory.available() == 20 * GB


@pytest.mark.parametrize("place", ["job/step", "job", ""], ids=["own", "parent", "seen from inside a container"])
def test_a_group_of_version_2(machine: Path, place: str) -> None:
    group(machine, "0::/job/step\n", place, V2)
    assert memory.available() == 6 * GB


@pytest.mark.parametrize("place", ["memory/job/step", "memory/job", "memory"])
def test_a_group_of_version_1(machine: Path, place: str) -> None:
    group(machine, "5:cpu,cpuacct:/elsewhere\n4:memory:/job/step\n0::/\n", place, V1)
    assert memory.available() == 6 * GB


@pytest.mark.parametrize(
    ("files", "left"),
    [
        (V2 | {"memory.max": "max\n"}, 20 * GB),
        (V2 | {"memory.max": f"{GB}\n"}, 0),
        ({"memory.max": f"{8 * GB}\n"}, 20 * GB),
    ],
    ids=["no limit", "limit lowered below the use", "no numbers of its use"],
)
def test_other_groups(machine: Path, files: dict[str, str], left: int) -> None:
    group(machine, "0::/\n", "", files)
    assert memory.available() == left


def test_what_fits_takes_half_of_it_and_processes_share_it(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group(machine, "0::/\n", "", V2)
    cpu = torch.device("cpu")
    assert batches.fits_in_memory(3 * GB, cpu)
    assert not batches.fits_in_memory(3 * GB + 1, cpu)
    monkeypatch.setattr(distributed, "processes_here", lambda: 3)
    assert batches.fits_in_memory(GB, cpu)
    assert not batches.fits_in_memory(GB + 1, cpu)
