"""What `make vww` costs in seconds, memory and disk, stage by stage, measured without the photographs.

    python -m benchmarks.full_scale FOLDER

Builds archives in COCO 2014's layout with COCO's numbers of members in FOLDER (25 GB in all), serves them from this
machine, and runs `dvc repro` in a copy of the project there: with the params of the recipe, but one epoch of each kind
in each training. The seconds of the recipe's other epochs are computed from that one. Writes
reports/sweeps/full_scale.json and .md.

FOLDER/measured.json holds what was measured so far; --go-on goes on after an interruption.
"""

import argparse
import os
import re
import shutil
import signal
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ruamel.yaml import YAML

from benchmarks.usage import usage
from earlyexit.common.files import read_json, write_json
from earlyexit.common.markdown import NOTHING, bold, table, thousands
from earlyexit.evaluation import latency
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.params import Params, load, overridden
from earlyexit.sources import coco2014
from experiments.finished import save
from experiments.recipes import VWW
from rehearsal import coco2014 as official_layout
from rehearsal import miniature
from rehearsal.kills import Repro
from rehearsal.server import serving

MEMBERS = sum(coco2014.IMAGES.values())
OFFICIAL = sum(remote.size or 0 for remote in coco2014.remotes("http://x", "http://x", None))
"""Bytes of COCO's own archives."""
PICTURES = 300
ONE_EPOCH = ("baseline.epochs=2", "baseline.small_epochs=1", "disjoint.epochs=1", "joint.epochs=1")
"""One epoch of each kind: the baseline's first is at the smaller resolution."""
INTERVAL = 0.5  # seconds between two looks


class Spent(NamedTuple):
    """Seconds of time, and of CPU."""

    seconds: float
    cpu: float

    def until(self, later: "Spent") -> "Spent":
        """Return what was spent from this moment to a later one."""
        return Spent(later.seconds - self.seconds, later.cpu - self.cpu)

    def plus(self, count: int, each: "Spent") -> "Spent":
        """Return the sum with so many of another."""
        return Spent(self.seconds + count * each.seconds, self.cpu + count * each.cpu)


@dataclass(frozen=True)
class Measured:
    """A stage as it ran.

    Attributes:
        stage: its name.
        spent: from its begin to the next stage's, so with DVC's work on its outputs.
        memory: largest sum of the resident sets of DVC and all processes below it, in bytes.
        disk: what the project's folder grew by, with DVC's cache, in bytes.
        epochs: each epoch's part of `spent`, in order; empty if the stage trains nothing.
        load: mean load of the machine, over one minute each.
    """

    stage: str
    spent: Spent
    memory: int
    disk: int
    epochs: list[Spent]
    load: float

    @classmethod
    def read(cls, entry: dict[str, Any]) -> "Measured":
        """Return what `asdict` made JSON of."""
        return cls(**entry | {"spent": Spent(*entry["spent"]), "epochs": [Spent(*one) for one in entry["epochs"]]})


@dataclass(frozen=True)
class Cost:
    """What a stage of the recipe costs, in seconds and bytes, and whether that was measured or computed."""

    stage: str
    basis: str
    spent: Spent
    memory: int
    disk: int


class Watch:
    """Looks at a stage of `dvc repro` while it runs: at what it uses, and for the ends of its epochs."""

    def __init__(self, stage: str, repro: Repro) -> None:
        self.stage, self.repro = stage, repro
        self.disk = disk_used(repro.folder)
        self.memory, self.cpu = usage(repro.process.pid)
        self.begin = self._now()
        self.loads = [os.getloadavg()[0]]
        self.marks: list[Spent] = []  # begin of the first epoch, ends of all
        self.saved = 0.0

    def look(self) -> None:
        """Look once."""
        memory, self.cpu = usage(self.repro.process.pid)
        self.memory = max(self.memory, memory)
        self.loads.append(os.getloadavg()[0])
        if not self.marks:
            if re.search(rf"\b{self.stage}: +0%", self.repro.output()):
                self.marks.append(self._now())
        elif self._saved() > self.saved:
            self.saved = self._saved()
            self.marks.append(self._now())

    def end(self, epochs: int) -> Measured:
        """Return what was seen of a stage that trains for so many epochs."""
        end = self._now()
        # The state after the last epoch may have been removed before it was seen.
        marks = [*self.marks, end][: epochs + 1]
        return Measured(
            stage=self.stage,
            spent=self.begin.until(end),
            memory=self.memory,
            disk=disk_used(self.repro.folder) - self.disk,
            epochs=[a.until(b) for a, b in pairwise(marks)] if epochs else [],
            load=statistics.fmean(self.loads),
        )

    def _now(self) -> Spent:
        return Spent(time.time(), self.cpu)

    def _saved(self) -> float:
        """Return when the state after an epoch was last written."""
        with suppress(FileNotFoundError):
            return (self.repro.folder / "models/.unfinished" / self.stage / "state.json").stat().st_mtime
        return 0.0


def watched(repro: Repro, epochs: dict[str, int]) -> Iterator[Measured]:
    """Yield each stage of a running `dvc repro` when it ends; `epochs` are those of the stages that train."""
    done, watch = 0, None
    while True:
        over = repro.process.poll() is not None
        for stage in repro.started()[done:]:
            if watch:
                yield watch.end(epochs.get(watch.stage, 0))
            watch, done = Watch(stage, repro), done + 1
        if over:
            break
        if watch:
            watch.look()
        time.sleep(INTERVAL)
    repro.finish()
    if watch:
        yield watch.end(epochs.get(watch.stage, 0))


def disk_used(folder: Path) -> int:
    """Return the bytes of disk that the files below `folder` take; a file with several names counts once."""
    blocks = {}
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            found = path.lstat()
            blocks[found.st_ino] = found.st_blocks
    return 512 * sum(blocks.values())


def kinds_of_epochs(params: Params) -> dict[str, list[tuple[int, str]]]:
    """Return for each training stage how many epochs it has of each kind, in their order."""
    baseline = params.baseline
    return {
        "baseline": [(baseline.small_epochs, "small epochs"), (baseline.epochs - baseline.small_epochs, "full epochs")],
        "disjoint": [(params.disjoint.epochs, "epochs")],
        "joint": [(params.joint.epochs, "epochs")],
    }


def cost(measured: Measured, epochs: Sequence[tuple[int, str]], downloaded: int) -> Cost:
    """Return what a stage of the recipe costs, from one that ran with one epoch of each kind.

    Args:
        measured: the stage as it ran.
        epochs: how many epochs of each kind the recipe has; empty if the stage trains nothing.
        downloaded: bytes of the archives; time and disk of `download` are scaled to those of COCO's own.
    """
    spent, disk, basis = measured.spent, measured.disk, "measured"
    if measured.stage == "download" and downloaded != OFFICIAL:
        factor = OFFICIAL / downloaded
        spent, disk = Spent(factor * spent.seconds, factor * spent.cpu), round(factor * disk)
        basis = f"computed for {_gb(OFFICIAL)} GB from measured {_gb(downloaded)} GB"
    for (count, _), one in zip(epochs, measured.epochs, strict=True):
        spent = spent.plus(count - 1, one)
    if epochs:
        basis = ", ".join(f"{count} {kind}" for count, kind in epochs) + ", computed from a measured one"
    return Cost(measured.stage, basis, spent, measured.memory, disk)


def markdown(costs: Sequence[Cost], notes: Sequence[str]) -> str:
    """Return the costs as a Markdown table with their sum."""
    rows = [
        [c.stage, c.basis, *(thousands(round(value)) for value in c.spent), _gb(c.memory), _gb(c.disk)] for c in costs
    ]
    sums = [sum(values) for values in zip(*(c.spent for c in costs), strict=True)]
    total = ["all", "sum; of memory the largest", *(f"{thousands(round(s))} ({s / 3600:.1f} h)" for s in sums)]
    total += [_gb(max(c.memory for c in costs)), _gb(sum(c.disk for c in costs))]
    heads = ["Stage", "Measured or computed", "Seconds", "CPU seconds", "Memory (GB)", "Disk (GB)"]
    return "\n".join([*table(heads, [*rows, [bold(cell) for cell in total]], labels=2), "", *notes]) + "\n"


def features_bytes(params: Params, images: int) -> int:
    """Return the bytes of the features that Stage A keeps of so many images."""
    network = EarlyExitNetwork(params.architecture()).eval()
    side = params.data.resolution
    with torch.no_grad():
        return images * sum(feature.nbytes for feature in network.features(torch.zeros(1, 3, side, side)))


def write_project(folder: Path, params: Params) -> None:
    """Copy the project into a Git repository of its own, with `params`."""
    miniature.copy(folder)
    YAML(typ="safe", pure=True).dump(params.model_dump(), folder / "params.yaml")
    miniature.commit(folder)


def measure(
    folder: Path, params: Params, members: int, port: int, *, go_on: bool
) -> tuple[list[Measured], int, dict[str, Any]]:
    """Return the stages as they ran in `folder`, the bytes that were downloaded, and the packed splits' counts.

    Args:
        folder: for archives, the copy of the project, and what was measured so far.
        params: of the recipe.
        members: photographs in the archives.
        port: of the server.
        go_on: whether to go on with the copy in `folder`.

    Raises:
        RuntimeError: a stage failed; holds the end of its output.
        OSError: the port is in use, or the disk is full.
    """
    served, project, kept = folder / f"served-{members}", folder / "project", folder / "measured.json"
    if not served.exists():
        workers = len(os.sched_getaffinity(0))
        official_layout.build(
            served, members=members, photographs=None, seed=1, workers=workers, pictures=min(PICTURES, members)
        )
    url = f"http://127.0.0.1:{port}"
    changes = (f"data.coco_url={url}", f"data.minival_url={url}/{coco2014.MINIVAL}")
    sums = f"data.checksums={(served / official_layout.SUMS).resolve()}"
    run = overridden(params, [*ONE_EPOCH, *changes, sums])
    measured: list[Measured] = []
    if go_on:
        measured = [Measured.read(entry) for entry in read_json(kept)]
        shutil.rmtree(project / "models/.unfinished", ignore_errors=True)  # An epoch is measured whole.
    else:
        shutil.rmtree(project, ignore_errors=True)
        kept.unlink(missing_ok=True)
        write_project(project, run)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as `make vww` does
    epochs = {stage: sum(count for count, _ in kinds) for stage, kinds in kinds_of_epochs(run).items()}
    with serving(served, port=port):
        repro = Repro(project)
        try:
            for one in watched(repro, epochs):
                measured.append(one)
                write_json(kept, [asdict(entry) for entry in measured])
                print(
                    f"{one.stage}: {one.spent.seconds:.0f} s, {_gb(one.memory)} GB of memory, load {one.load:.1f}",
                    flush=True,
                )
        finally:
            if repro.process.poll() is None:
                os.killpg(repro.process.pid, signal.SIGTERM)
                repro.process.wait()
    archives = [*served.rglob("*.zip"), served / coco2014.MINIVAL]
    return measured, sum(path.stat().st_size for path in archives), read_json(project / "data/packed/counts.json")


def main() -> None:
    """Measure, then write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for archives and the copy of the project: 25 GB")
    parser.add_argument("--members", type=int, default=MEMBERS, help="photographs (default: COCO's %(default)s)")
    parser.add_argument("--port", type=int, default=8614, help="of the server on this machine (default: %(default)s)")
    parser.add_argument("--go-on", action="store_true", help="go on after an interruption")
    chosen = parser.parse_args()
    try:
        params = overridden(load(), VWW)
        measured, downloaded, counts = measure(chosen.folder, params, chosen.members, chosen.port, go_on=chosen.go_on)
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from None
    kinds = kinds_of_epochs(params)
    costs = [cost(one, kinds.get(one.stage, []), downloaded) for one in measured]
    images = {split: counts[split]["images"] for split in ("train", "calibration", "val")}
    facts = {
        "members": chosen.members,
        "images": images,
        "picture_bytes": downloaded // chosen.members,
        "features_bytes": features_bytes(params, images["train"]),
        "threads": params.train.threads,
        "cores": len(os.sched_getaffinity(0)),
        "load": statistics.fmean([one.load for one in measured], [one.spent.seconds for one in measured]),
        "processor": latency.machine()["processor"],
    }
    text = markdown(costs, _notes(facts))
    if chosen.members == MEMBERS:
        content = {**facts, "costs": [asdict(one) for one in costs], "measured": [asdict(one) for one in measured]}
        save("full_scale", content, text)
    else:
        print(text)


def _notes(facts: dict[str, Any]) -> list[str]:
    listed = ", ".join(f"{split} {thousands(count)}" for split, count in facts["images"].items())
    return [
        f"{facts['cores']} cores ({facts['processor']}), {facts['threads']} threads. Mean load of the machine during "
        f"the measurement: {facts['load']:.1f}. Above {facts['cores']}, other programs slowed it down: the seconds are "
        "upper bounds then. CPU seconds, of all threads together, hardly depend on the load. Two cores that nothing "
        "else uses take between half and all of them, waits for disk and network apart.",
        "",
        f"Generated archives of {thousands(facts['members'])} photographs ({listed}), 640 x 480 pixels, "
        f"{facts['picture_bytes'] / 1000:.0f} kB each, from a server on the same machine: the time that a network "
        "takes comes on top.",
        "",
        "Memory: the largest sum of the resident sets of DVC and all processes below it, with the mapped pages of "
        f"data/packed. `disjoint` holds {_gb(facts['features_bytes'])} GB of features in it. Disk: what the folder "
        "grew by, with DVC's cache.",
    ]


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f}" if size else NOTHING


if __name__ == "__main__":
    main()
