"""Where the training stages write: models/NAME, with a log of one value an epoch for `dvc metrics` and `dvc plots`."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dvclive import Live

from earlyexit.common.files import replacing_folder
from earlyexit.training import distributed
from earlyexit.training.loop import Log

MODELS = Path("models")


@contextmanager
def output(name: str) -> Iterator[tuple[Path, Log]]:
    """Yield the folder that becomes models/`name`, and a function that logs the metrics of one epoch into it.

    The state of the unfinished training goes when the folder has its name. Under torchrun only the main process'
    folder stays.
    """
    if distributed.is_main():
        with replacing_folder(MODELS / name) as folder, _live(folder / "log") as log:
            yield folder, log
        shutil.rmtree(unfinished(name), ignore_errors=True)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch), lambda epoch, metrics: None
    distributed.leave()


def unfinished(name: str) -> Path:
    """Return the folder for the state of a training that writes models/`name`."""
    return MODELS / ".unfinished" / name


@contextmanager
def _live(folder: Path) -> Iterator[Log]:
    with Live(str(folder), dvcyaml=None, save_dvc_exp=False) as log:

        def epoch(number: int, metrics: dict[str, float]) -> None:
            log.step = number
            for name, value in metrics.items():
                log.log_metric(name, value)
            log.make_summary()

        yield epoch
