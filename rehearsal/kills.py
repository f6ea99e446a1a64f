"""Kill `dvc repro` at chosen moments, start it again each time, and compare the results with an undisturbed run's."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.mend import damaged
from rehearsal import miniature

Victim = Literal["all", "dvc", "stage"]
VICTIMS: tuple[Victim, ...] = ("all", "dvc", "all", "stage")
"""DVC with all processes under it, DVC alone, or the stage alone; repeated in this order."""
TRAINED = ("baseline", "disjoint", "joint")
RESUMED = "going on from epoch"
PATIENCE = 300.0  # seconds in which processes that were not killed themselves must end


@dataclass(frozen=True)
class Moment:
    """When to kill, and what.

    Attributes:
        stage: the stage to wait for.
        seconds: from the begin of the stage to the kill; less where the stage ends before.
        victim: what to kill.
        resume: count the seconds from when the stage, a training, has saved its first epoch.
    """

    stage: str
    seconds: float
    victim: Victim
    resume: bool = False


@dataclass(frozen=True)
class Kill:
    """One kill and the state that it left.

    Attributes:
        stage: the last stage that had begun.
        seconds: from its begin, or its first saved epoch, to the kill.
        victim: what was killed.
        running: whether the stage was running; otherwise DVC was storing its outputs.
        files: MD5 of each file at its final name.
        leftovers: unfinished outputs.
        orphans: processes that outlived the kill.
        damaged: files of DVC's own that the kill truncated.
    """

    stage: str
    seconds: float
    victim: Victim
    running: bool
    files: Mapping[str, str]
    leftovers: list[str]
    orphans: list[int]
    damaged: list[str]


@dataclass(frozen=True)
class Passage:
    """A workflow that was killed and restarted until it finished.

    Attributes:
        kills: in order.
        rerun: stages that ran again although they had finished.
        resumed: how often a training continued from a saved epoch.
    """

    kills: list[Kill]
    rerun: list[str]
    resumed: int


class Repro:
    """`dvc repro` in `folder`, in a process group of its own; it starts at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder.with_name(f"{folder.name}.log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["dvc", "repro"],
                cwd=folder,
                env=miniature.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def output(self) -> str:
        """Return what it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def started(self) -> list[str]:
        """Return the stages that have begun so far."""
        return re.findall(r"Running stage '(.+?)':", self.output())

    def finish(self) -> list[str]:
        """Wait for the end; return the stages that ran.

        Raises:
            RuntimeError: it failed.
        """
        if self.process.wait() != 0:
            raise RuntimeError(f"dvc repro: exit status {self.process.returncode}: {self.output()[-4000:]}")
        return self.started()

    def durations(self) -> dict[str, float]:
        """Wait for the end; return the seconds that each stage took, with DVC's work on its outputs."""
        begins: dict[str, float] = {}
        while self.process.poll() is None:
            for stage in self.started():
                begins.setdefault(stage, time.monotonic())
            time.sleep(0.05)
        self.finish()
        ends = [*list(begins.values())[1:], time.monotonic()]
        return {stage: end - begin for (stage, begin), end in zip(begins.items(), ends, strict=True)}

    def kill(self, moment: Moment) -> Kill | None:
        """Kill -9 at `moment`, or as soon as a stage runs where one is the victim; None if the workflow ends before."""
        while not self._reached(moment):
            if self.process.poll() is not None:
                self.finish()
                return None
            time.sleep(0.02)
        begin = time.monotonic()
        # A stage that takes less time than in the run before is not waited for: the next ones would be without a kill.
        while (left := begin + moment.seconds - time.monotonic()) > 0 and self.started()[-1] == moment.stage:
            time.sleep(min(left, 0.02))
        children: list[int] = []
        while not children:
            if self.process.poll() is not None:
                self.finish()
                return None
            children = [pid for pid, parent, _ in _processes() if parent == self.process.pid]
            if moment.victim != "stage":
                break
        stages = self.started()
        with suppress(ProcessLookupError):
            if moment.victim == "all":
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                os.kill(self.process.pid if moment.victim == "dvc" else children[0], signal.SIGKILL)
        seconds = time.monotonic() - begin
        self.process.wait()
        orphans = self._orphans()
        return Kill(
            stage=stages[-1],
            seconds=seconds if stages[-1] == moment.stage else 0.0,
            victim=moment.victim,
            running=bool(children),
            files=miniature.files(self.folder),
            leftovers=miniature.leftovers(self.folder),
            orphans=orphans,
            damaged=damaged(self.folder),
        )

    def _reached(self, moment: Moment) -> bool:
        started = self.started()
        if moment.stage not in started:
            return False
        saved = self.folder / "models/.unfinished" / moment.stage / "state.json"
        return not moment.resume or saved.exists() or started[-1] != moment.stage

    def _orphans(self) -> list[int]:
        """Wait until every process of the run has ended; after `PATIENCE`, end and return those that have not."""
        deadline = time.monotonic() + PATIENCE
        while left := [pid for pid, _, group in _processes() if group == self.process.pid]:
            if time.monotonic() > deadline:
                os.killpg(self.process.pid, signal.SIGKILL)
                return left
            time.sleep(0.02)
        return []


def finished_stages(folder: Path) -> frozenset[str]:
    """Return the stages in dvc.lock, which must be whole or missing."""
    path = folder / "dvc.lock"
    # By their indentation: a YAML parser takes long for this file, and it is read after every kill.
    return frozenset(re.findall(r"^  (\S+):$", path.read_text(), re.MULTILINE)) if path.exists() else frozenset()


def mend(folder: Path) -> None:
    """Repair DVC's own files, as `make repro` does before it starts DVC."""
    subprocess.run([sys.executable, "-m", "experiments.mend"], cwd=folder, check=True)


def torment(folder: Path, plan: Sequence[Moment]) -> Passage:
    """Run the workflow in `folder` to its end, killed at each moment of `plan` and started again."""
    kills: list[Kill] = []
    rerun: list[str] = []
    resumed = 0
    finished: frozenset[str] = frozenset()
    for moment in [*plan, None]:
        if moment and moment.stage in finished:  # The kill before came after its own stage.
            continue
        repro = Repro(folder)
        kill = repro.kill(moment) if moment else None
        ran = repro.started() if kill else repro.finish()
        rerun += finished.intersection(ran)
        resumed += repro.output().count(RESUMED)
        if kill:
            kills.append(kill)
            if kill.damaged:
                mend(folder)
            finished = finished_stages(folder)
    return Passage(kills, rerun, resumed)


def faults(reference: Path, folder: Path, passage: Passage) -> list[str]:
    """Return a line for each difference from the undisturbed run, at the end and at each kill."""
    expected, found = miniature.unmeasured(reference), miniature.unmeasured(folder)
    wrong = [f"{path}: other bytes at the end" for path in expected if found.get(path) != expected[path]]
    wrong += [f"{path}: left at the end" for path in miniature.leftovers(folder)]
    wrong += [f"{stage}: had finished and ran again" for stage in passage.rerun]
    whole = miniature.files(reference)
    folders = [f"{path}/" for path in expected if (reference / path).is_dir()]
    for number, kill in enumerate(passage.kills, 1):
        where = f"kill {number} ({kill.victim}, {kill.stage} after {kill.seconds:.2f} s)"
        wrong += [f"{where}: process {pid} outlived it" for pid in kill.orphans]
        wrong += [
            f"{where}: {path} was not whole"
            for path, digest in kill.files.items()
            if not miniature.measured(path) and digest != whole.get(path)
        ]
        if kill.running:  # Otherwise DVC may be moving an output to its cache, file by file.
            there = tuple(top for top in folders if any(path.startswith(top) for path in kill.files))
            missing = whole.keys() - kill.files.keys()
            wrong += [f"{where}: {path} was missing" for path in sorted(missing) if path.startswith(there)]
    return wrong


def _processes() -> Iterator[tuple[int, int, int]]:
    """Yield process, parent and process group of every process that has not ended (Linux)."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent, group, *_ = path.read_text(errors="replace").rpartition(")")[2].split()
            if state not in "ZX":
                yield int(path.parent.name), int(parent), int(group)
