"""What the training stages have in common: the session, and the output models/NAME with its log for DVC."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dvclive import Live

from earlyexit.common.files import replacing_folder
from earlyexit.dataset import PackedSplit, open_split
from earlyexit.model.inference import prepare_torch
from earlyexit.params import TrainParams
from earlyexit.taught import taught
from earlyexit.training import distributed
from earlyexit.training.distillation import Taught
from earlyexit.training.loop import Log
from earlyexit.training.recipe import AugmentRecipe
from earlyexit.training.trainers import Session

PACKED = Path("data/packed")
MODELS = Path("models")
TEACHER = MODELS / "teacher"


@contextmanager
def training(
    name: str, train: TrainParams, augment: AugmentRecipe, teacher_share: float | None = 1
) -> Iterator[tuple[Path, Session]]:
    """Seed torch; yield the folder that becomes models/`name`, and a session on data/packed that logs into it.

    If models/teacher holds answers, the session has them, with `teacher_share` (`Taught.share`); None: without them.
    The state of the unfinished training is removed once the folder has its name.
    """
    device = distributed.join(prepare_torch(train.seed, train.threads, train.device))
    unfinished = MODELS / ".unfinished" / name
    images = open_split(PACKED, "train")
    with _output(MODELS / name) as (folder, log):
        yield (
            folder,
            Session(
                train=images,
                held_out=open_split(PACKED, "calibration"),
                augment=augment,
                device=device,
                log=log,
                precision=train.precision,
                unfinished=unfinished,
                taught=None if teacher_share is None else answers(images, teacher_share),
            ),
        )
    if distributed.is_main():
        shutil.rmtree(unfinished, ignore_errors=True)
    distributed.leave()


def answers(images: PackedSplit, share: float) -> Taught | None:
    """Return the teacher's answers to the train split, with `Taught.share`; None where there is no teacher."""
    log_odds = taught(TEACHER, images)
    return None if log_odds is None else Taught(log_odds, share)


@contextmanager
def _output(path: Path) -> Iterator[tuple[Path, Log]]:
    """Yield the folder that becomes `path`, and a function that logs one epoch into it.

    Under torchrun, only the main process's folder is kept.
    """
    if not distributed.is_main():
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch), lambda epoch, metrics: None
        return
    with (
        replacing_folder(path) as folder,
        Live(str(folder / "log"), dvcyaml=None, save_dvc_exp=False) as live,
    ):

        def log(epoch: int, metrics: dict[str, float]) -> None:
            live.step = epoch
            for name, value in metrics.items():
                live.log_metric(name, value)
            live.make_summary()

        yield folder, log
