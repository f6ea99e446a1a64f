"""Kill the miniature workflow again and again; it must end with the bytes of an undisturbed run.

    python -m rehearsal.soak --kills 100 --seed 1

Each round runs the workflow once, kills it at a random moment of every stage (of a training also after its first
epoch), and starts it again each time. The exit status is 1 if any round differs from the undisturbed run.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from rehearsal import miniature
from rehearsal.kills import TRAINED, VICTIMS, Moment, Passage, Repro, faults, torment

LONGER = {stage: {"epochs": 20} for stage in TRAINED}  # so that most of a training's time lies between its epochs


def draw_plan(durations: Mapping[str, float], rng: random.Random) -> list[Moment]:
    """Draw a moment in each stage of `durations` (seconds), and a second one in trainings; victims take turns."""
    moments = [(stage, resume) for stage in durations for resume in (False, True) if stage in TRAINED or not resume]
    return [
        Moment(stage, rng.random() * durations[stage] * (0.5 if resume else 1), VICTIMS[i % len(VICTIMS)], resume)
        for i, (stage, resume) in enumerate(moments)
    ]


def main() -> None:
    """Run rounds until there are enough kills, then print a report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    begin = time.monotonic()
    passages: list[Passage] = []
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as name, tqdm(total=options.kills, unit="kill") as bar:
        reference = miniature.make(Path(name) / "undisturbed", LONGER)
        durations = Repro(reference).durations()
        while bar.n < options.kills:
            folder = miniature.make(Path(name) / f"round{len(passages) + 1}", LONGER)
            passage = torment(folder, draw_plan(durations, rng))
            found = faults(reference, folder, passage)
            passages.append(passage)
            wrong += found
            bar.update(len(passage.kills))
            tqdm.write("\n".join([f"round {len(passages)}: {len(passage.kills)} kills, {len(found)} faults", *found]))
    report(passages)
    print(f"{bar.n} kills, {len(wrong)} faults, {time.monotonic() - begin:.0f} s")
    sys.exit(bool(wrong))


def report(passages: Sequence[Passage]) -> None:
    """Print how often each stage and victim was killed, and what the kills left."""
    kills = [kill for passage in passages for kill in passage.kills]
    for stage, count in Counter(kill.stage for kill in kills).items():
        print(f"{stage:20} {count:4} kills, {sum(k.running for k in kills if k.stage == stage):4} while it was running")
    for victim, count in Counter(kill.victim for kill in kills).items():
        print(f"killed {victim}: {count}")
    print(f"kills that left unfinished outputs: {sum(bool(kill.leftovers) for kill in kills)}")
    print(f"trainings that continued from an epoch: {sum(passage.resumed for passage in passages)}")
    print(f"damaged files of DVC's own: {sum(len(kill.damaged) for kill in kills)}")
    print(f"files compared at the kills: {sum(len(kill.files) for kill in kills):,}")


if __name__ == "__main__":
    main()
