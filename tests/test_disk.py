"""A disk that is full, and a place that may not be written: one clear line, nothing half written, nothing lost."""

import ctypes
import mmap
import multiprocessing
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from earlyexit.common.files import replacing, replacing_folder
from earlyexit.evaluation import per_image
from earlyexit.model import checkpoint
from earlyexit.params import PersonArea
from earlyexit.plots import quantization, style
from earlyexit.sources import coco_folder
from earlyexit.tflite import deployment
from earlyexit.tflite.deployment import Deployment
from stages import FREE, WRITABLE, download, prepare, reliability, run
from tests import tiny_network
from tests.coco_source import files, write_source
from tests.firmware import baseline
from tests.plots import results
from tests.stages.test_plots import write_deployment
from tests.waiting import LONG

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
PAGE = mmap.PAGESIZE
MINIMUM = 100  # bytes of the smallest limit: semaphores, which are files too, are smaller


def write_raw(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    data = SimpleNamespace(source="embedded", seed=1, train_images=4, val_images=2)
    monkeypatch.setattr(download, "load", lambda: SimpleNamespace(data=data))
    return download.main


def write_packed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    Path("data/raw").mkdir(parents=True)
    coco_folder.store_folder(write_source(Path("source")), Path("data/raw"))
    area = PersonArea(vww=0.1, vww_box=0.1, mlperf=0.1)
    data = SimpleNamespace(
        source="x", resolution=32, label_rule="vww", min_person_area=area, calibration_share=0.3, max_skipped=0
    )
    monkeypatch.setattr(prepare, "load", lambda: SimpleNamespace(data=data))
    return prepare.main


def write_checkpoint(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    network = tiny_network.network(tiny_network.architecture())

    def main() -> None:
        with replacing_folder("models/joint") as folder:
            checkpoint.save(folder, network, {"seed": 1})

    return main


def write_int8(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    network = baseline.network()

    def main() -> None:
        with replacing_folder("models/int8/baseline") as folder:
            deployment.save(folder, network, "litert")

    return main


def write_report(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    monkeypatch.setattr(Deployment, "logits_scales", lambda self: results.scales(len(self.names) - 1))
    write_deployment(Path("models/int8/early_exit"), results.names(3), results.MACS)
    Path("models/evaluation").mkdir()
    per_image.save(Path("models/evaluation/val.safetensors"), results.evaluation())
    return reliability.main


def write_figures(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    table = quantization.accuracies(results.evaluation())

    def main() -> None:
        with replacing("reports/frontier.csv") as file, replacing_folder("reports/plots") as folder:
            style.save_table(file, table)
            style.save_figure(folder / "quantization.png", quantization.draw(table, 60))

    return main


WRITERS: dict[str, Callable[[pytest.MonkeyPatch], Callable[[], None]]] = {
    "data/raw": write_raw,
    "data/packed": write_packed,
    "models/joint": write_checkpoint,
    "models/int8/baseline": write_int8,
    "reports/reliability": write_report,
    "reports/": write_figures,
}
FULL = {output: rf"^error: {output}\S*: not written: {{}} \([\d,]+ bytes free\); {FREE}$" for output in WRITERS}
FULL["data/packed"] = rf"({FULL['data/packed']}|^error: data: packing needs .* GB of disk space, )"  # known in advance


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let every write beyond `size` bytes of a file fail (EFBIG), here and in new processes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("output", WRITERS)
def test_a_write_that_fails_at_any_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    monkeypatch.chdir(tmp_path)
    main = WRITERS[output](monkeypatch)
    before = dict(files(tmp_path))
    main()
    expected = dict(files(tmp_path))
    written = {path: content for path, content in expected.items() if path not in before}
    assert written
    assert all(path.startswith(output) for path in written)
    largest = max(map(len, written.values()))
    for size in (MINIMUM, largest // 2, largest - 1):
        with file_size_limit(size), pytest.raises(SystemExit, match=FULL[output].format("File too large")):
            run(main)
        assert dict(files(tmp_path)) == expected  # what was there before
    for path in written:
        (tmp_path / path).unlink()
    with file_size_limit(largest - 1), pytest.raises(SystemExit):
        run(main)
    left = dict(files(tmp_path)).items()
    assert before.items() <= left <= expected.items()  # of several files, those that fit
    run(main)
    assert dict(files(tmp_path)) == expected


def enter_namespace() -> None:
    """Become root of a namespace of this process's own, whose mounts end with it."""
    user, group = os.geteuid(), os.getegid()
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def mount(folder: Path, *options: str) -> None:
    subprocess.run(["mount", *options, folder], check=True)


def fill(path: Path, left: int) -> None:
    """Take all space of the disk but `left` bytes, in whole pages."""
    with path.open("ab", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(PAGE))
    os.truncate(path, path.stat().st_size - left // PAGE * PAGE)


def on_a_full_disk(folder: Path, output: str) -> None:
    enter_namespace()
    mount(folder, "-t", "tmpfs", "-o", "size=16m", "tmpfs")
    os.chdir(folder)
    main = WRITERS[output](pytest.MonkeyPatch())
    before = dict(files(folder))
    main()
    expected = dict(files(folder))
    needed = sum(-(-len(content) // PAGE) * PAGE for path, content in expected.items() if path not in before)
    fill(folder / "filler", 0)
    with pytest.raises(SystemExit, match=FULL[output].format("No space left on device")):
        run(main)
    assert dict(files(folder)).items() >= expected.items()  # what was there before
    for path in expected.keys() - before.keys():
        (folder / path).unlink()
    fill(folder / "filler", needed // 2)
    with pytest.raises(SystemExit, match=FULL[output].format("No space left on device")):
        run(main)
    (folder / "filler").unlink()
    left = dict(files(folder)).items()
    assert before.items() <= left < expected.items()  # of several files, those that fit
    run(main)
    assert dict(files(folder)) == expected


def on_a_read_only_disk(folder: Path, output: str) -> None:
    enter_namespace()
    os.chdir(folder)
    main = WRITERS[output](pytest.MonkeyPatch())
    before = dict(files(folder))
    mount(folder, "--bind", str(folder))
    mount(folder, "-o", "remount,bind,ro")
    os.chdir(folder)
    with pytest.raises(SystemExit, match=rf"^error: \S+: not written: Read-only file system; {WRITABLE}$"):
        run(main)
    assert dict(files(folder)) == before


def nothing(folder: Path, output: str) -> None:
    enter_namespace()
    mount(folder, "-t", "tmpfs", "tmpfs")


def apart(check: Callable[[Path, str], None], folder: Path, output: str = "") -> int | None:
    """Call in a process of its own, by fork, so that it finds everything imported; its exit status."""
    process = multiprocessing.get_context("fork").Process(target=check, args=(folder, output))
    process.start()
    process.join(LONG)
    process.kill()  # where it hangs: for a lock that a thread held, which the fork does not have
    process.join()
    return process.exitcode


@pytest.mark.parametrize("output", WRITERS)
@pytest.mark.parametrize("check", [on_a_full_disk, on_a_read_only_disk])
def test_a_disk(tmp_path: Path, check: Callable[[Path, str], None], output: str) -> None:
    if apart(nothing, tmp_path) != 0:
        pytest.skip("no mounts in a namespace of a user here")
    assert apart(check, tmp_path, output) == 0  # what failed is in the captured stderr
