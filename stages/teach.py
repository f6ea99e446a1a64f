"""Stage teach: what a bigger network says of the images, for the trainings to learn from, if one is given."""

import os
import shutil
from pathlib import Path

from earlyexit.common.files import replacing_folder, write_json
from earlyexit.params import TeacherParams, load
from earlyexit.taught import FACTS, Answers, save
from stages import run

TEACHER = Path("models/teacher")
RAW, PACKED = Path("data/raw"), Path("data/packed")
# Not an output: DVC deletes outputs before a stage runs, but an interrupted stage goes on from its finished chunks.
UNFINISHED = Path("models/.unfinished/teach")


def main() -> None:
    """Write models/teacher: the log-odds of "person" for the train split, and for val; or that there is no teacher."""
    settings = load().teacher
    with replacing_folder(TEACHER) as folder:
        if settings.model is None:
            write_json(folder / FACTS, {"model": None})
        else:
            _teach(Path(settings.model), settings, folder)
    shutil.rmtree(UNFINISHED, ignore_errors=True)


def _teach(path: Path, settings: TeacherParams, folder: Path) -> None:
    # Imported here: PyTorch and both runtimes take seconds to load, which a run without a teacher need not wait for.
    from earlyexit.dataset import open_split
    from earlyexit.packing.stored import stored
    from earlyexit.teaching.teach import open_teacher, teach

    # Val for the accuracy of the teacher alone: no training reads it.
    splits = {name: open_split(PACKED, name) for name in ("train", "val")}
    photographs = {name: stored(RAW, name, split.ids) for name, split in splits.items()}
    teacher = open_teacher(path, settings.person, settings.pixels(), photographs["train"])
    accuracies = {}
    for name, split in splits.items():
        log_odds = teach(teacher, photographs[name], UNFINISHED, f"teacher on {name}", len(os.sched_getaffinity(0)))
        save(folder, name, split.ids, log_odds)
        accuracy = float((Answers(teacher.kind, log_odds).labels() == split.labels).mean())
        accuracies[name] = {"n": len(split), "accuracy": accuracy}
        print(f"{path.name} is right on {100 * accuracy:.2f} % of {len(split):,} {name} images")
    write_json(folder / FACTS, {**teacher.facts(), **accuracies})


if __name__ == "__main__":
    run(main)
