"""Kill the miniature workflow over and over; it has to end with the bytes of an undisturbed run.

    python -m rehearsal.soak --kills 100 --seed 1

Each round is one pipeline that is killed once in every stage, at a random moment, and started again each time. Killed
is DVC with all that runs under it, DVC alone, or the stage alone. The exit status is 1 where anything was lost.
"""

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ruamel.yaml import YAML
from tqdm import tqdm

from experiments.mend import damaged
from rehearsal import miniature
from rehearsal.miniature import MEASURED

Victim = Literal["all", "dvc", "stage"]
VICTIMS: tuple[Victim, ...] = ("all", "dvc", "all", "stage")
PATIENCE = 30.0  # seconds for what was not killed itself to end
TRAINED = ("baseline", "disjoint", "joint")
LONGER = {stage: {"epochs": 20} for stage in TRAINED}  # so that many kills are between the first epoch and the last
RESUMED = "going on from epoch"


@dataclass(frozen=True)
class Kill:
    """One kill and what it left."""

    stage: str
    """The last that had begun."""
    seconds: float
    """Since it began."""
    victim: Victim
    running: bool
    """False: the stage had ended, and DVC was at work on its outputs."""
    finished: frozenset[str]
    """Stages in dvc.lock."""
    files: Mapping[str, str]
    """Files at final names, and their MD5."""
    leftovers: list[str]
    orphans: list[int]
    """Processes that outlived the kill."""
    damaged: list[str]
    """Files of DVC's own that the kill caught in writing."""


@dataclass(frozen=True)
class Passage:
    """A workflow that came to its end through kills."""

    kills: list[Kill]
    rerun: list[str]
    """Stages that had finished and ran again."""
    resumed: int
    """Trainings that went on from an epoch."""


class Repro:
    """`dvc repro` in a process group of its own."""

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

    def started(self) -> list[str]:
        """The stages that began so far."""
        return re.findall(r"Running stage '(.+?)':", self.said())

    def said(self) -> str:
        """All output so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def finish(self) -> list[str]:
        """Wait for the end; the stages that ran."""
        if self.process.wait() != 0:
            raise RuntimeError(f"dvc repro: exit status {self.process.returncode}: {self.said()[-4000:]}")
        return self.started()

    def durations(self) -> dict[str, float]:
        """Wait for the end; seconds of each stage, with DVC's work on its outputs."""
        begins: dict[str, float] = {}
        while self.process.poll() is None:
            for stage in self.started():
                begins.setdefault(stage, time.monotonic())
            time.sleep(0.05)
        self.finish()
        ends = [*list(begins.values())[1:], time.monotonic()]
        return {stage: end - begin for (stage, begin), end in zip(begins.items(), ends, strict=True)}

    def kill(self, stage: str, seconds: float, victim: Victim) -> Kill | None:
        """Kill -9 `seconds` after `stage` began; None if it never begins."""
        while stage not in self.started():
            if self.process.poll() is not None:
                self.finish()
                return None
            time.sleep(0.01)
        begin = time.monotonic()
        time.sleep(seconds)
        if self.process.poll() is not None:
            self.finish()
            return None
        children = [pid for pid, parent, _ in processes() if parent == self.process.pid]
        stages = self.started()
        if victim == "stage" and not children:
            victim = "all"
        with suppress(ProcessLookupError):
            if victim == "all":
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                os.kill(self.process.pid if victim == "dvc" else children[0], signal.SIGKILL)
        passed = time.monotonic() - begin
        self.process.wait()
        orphans = self._orphans()
        finished, damaged = locks(self.folder)
        return Kill(
            stage=stages[-1],
            seconds=passed if stages[-1] == stage else 0.0,
            victim=victim,
            running=bool(children),
            finished=finished,
            files=miniature.files(self.folder),
            leftovers=miniature.leftovers(self.folder),
            orphans=orphans,
            damaged=damaged,
        )

    def _orphans(self) -> list[int]:
        """Wait until all that the run started has ended; end what does not."""
        deadline = time.monotonic() + PATIENCE
        while left := [pid for pid, _, group in processes() if group == self.process.pid]:
            if time.monotonic() > deadline:
                os.killpg(self.process.pid, signal.SIGKILL)
                return left
            time.sleep(0.02)
        return []


def processes() -> Iterator[tuple[int, int, int]]:
    """Process, parent and group of every process that has not ended (Linux)."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent, group, *_ = path.read_text(errors="replace").rpartition(")")[2].split()
            if state not in "ZX":
                yield int(path.parent.name), int(parent), int(group)


def locks(folder: Path) -> tuple[frozenset[str], list[str]]:
    """The stages that dvc.lock lists, and which of the files that DVC rewrites in place are damaged."""
    path, broken = folder / "dvc.lock", damaged(folder)
    if path.name in broken or not path.exists():
        return frozenset(), broken
    return frozenset(YAML(typ="safe", pure=True).load(path)["stages"]), broken


def mend(folder: Path) -> None:
    """What `make repro` does before all else."""
    subprocess.run([sys.executable, "-m", "experiments.mend"], cwd=folder, check=True)


def torment(folder: Path, plan: list[tuple[str, float, Victim]]) -> Passage:
    """Run the workflow in `folder` to its end through kills: at a stage, seconds after its begin, of a victim."""
    kills: list[Kill] = []
    rerun: list[str] = []
    resumed = 0
    finished: frozenset[str] = frozenset()
    for stage, seconds, victim in plan:
        if stage in finished:  # The kill before came late.
            continue
        repro = Repro(folder)
        kill = repro.kill(stage, seconds, victim)
        rerun += finished.intersection(repro.started())
        resumed += repro.said().count(RESUMED)
        if kill is None:
            continue
        kills.append(kill)
        if kill.damaged:
            mend(folder)
        finished = locks(folder)[0]
    last = Repro(folder)
    rerun += finished.intersection(last.finish())
    return Passage(kills, rerun, resumed + last.said().count(RESUMED))


def faults(reference: Path, folder: Path, passage: Passage) -> list[str]:
    """What differs from the undisturbed run, at the end and at each kill."""
    expected, found = miniature.unmeasured(reference), miniature.unmeasured(folder)
    wrong = [f"{path}: other bytes at the end" for path in expected if found.get(path) != expected[path]]
    wrong += [f"{path}: left at the end" for path in miniature.leftovers(folder)]
    wrong += [f"{stage}: had finished and ran again" for stage in passage.rerun]
    whole = miniature.files(reference)
    folders = [path for path in expected if (reference / path).is_dir()]
    for number, kill in enumerate(passage.kills, 1):
        where = f"kill {number} ({kill.victim}, {kill.stage} after {kill.seconds:.2f} s)"
        wrong += [f"{where}: process {pid} lived on" for pid in kill.orphans]
        wrong += [
            f"{where}: {path} was not whole"
            for path, digest in kill.files.items()
            if not measured(path) and digest != whole.get(path)
        ]
        if kill.running:
            missing = (path for path in whole if path not in kill.files)
            there = [top for top in folders if any(path.startswith(f"{top}/") for path in kill.files)]
            wrong += [f"{where}: {path} was missing" for path in missing for top in there if path.startswith(f"{top}/")]
    return wrong


def measured(path: str) -> bool:
    """Whether a file holds times, or is drawn from them."""
    return any(path == top or path.startswith(f"{top}/") for top in MEASURED)


def main() -> None:
    """Soak, print a report, exit 1 on any fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    begin = time.monotonic()
    passages: list[Passage] = []
    wrong: list[str] = []
    compared = 0
    with tempfile.TemporaryDirectory() as name, tqdm(total=options.kills, unit="kill") as bar:
        reference = miniature.make(Path(name) / "undisturbed", LONGER)
        durations = Repro(reference).durations()
        while bar.n < options.kills:
            folder = miniature.make(Path(name) / f"round{len(passages) + 1}", LONGER)
            passage = torment(folder, draw_plan(durations, rng))
            found = faults(reference, folder, passage)
            compared += sum((folder / path).stat().st_size for path in miniature.files(folder))
            passages.append(passage)
            wrong += found
            bar.update(len(passage.kills))
            tqdm.write("\n".join([f"round {len(passages)}: {len(passage.kills)} kills, {len(found)} faults", *found]))
    report(passages, wrong, compared, time.monotonic() - begin)
    sys.exit(bool(wrong))


def draw_plan(durations: Mapping[str, float], rng: random.Random) -> list[tuple[str, float, Victim]]:
    """A moment in every stage, and a second one in trainings, in the order in which DVC runs them."""
    stages = [stage for stage in durations for _ in range(1 + (stage in TRAINED))]
    return [(stage, rng.random() * durations[stage], rng.choice(VICTIMS)) for stage in stages]


def report(passages: list[Passage], wrong: list[str], compared: int, seconds: float) -> None:
    """Print what was done and what came of it."""
    kills = [kill for passage in passages for kill in passage.kills]
    for stage, count in Counter(kill.stage for kill in kills).items():
        print(f"{stage:20} {count:4} kills, {sum(k.running for k in kills if k.stage == stage):4} before it had ended")
    for victim, count in Counter(kill.victim for kill in kills).items():
        print(f"killed {victim}: {count}")
    print(f"kills that left unfinished outputs behind: {sum(bool(kill.leftovers) for kill in kills)}")
    print(f"trainings that went on from an epoch: {sum(passage.resumed for passage in passages)}")
    print(f"files of DVC's own damaged: {sum(len(kill.damaged) for kill in kills)}")
    print(f"compared: {compared:,} bytes at the ends, {sum(len(kill.files) for kill in kills):,} files at the kills")
    print(f"{len(kills)} kills, {len(wrong)} faults, {seconds:.0f} s")
    print("\n".join(wrong))


if __name__ == "__main__":
    main()
