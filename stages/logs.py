"""Training logs, one value an epoch, where `dvc metrics` and `dvc plots` find them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dvclive import Live

from earlyexit.training import Log


@contextmanager
def live(folder: Path) -> Iterator[Log]:
    """Yield a function that logs the metrics of one epoch into `folder`."""
    with Live(str(folder), dvcyaml=None, save_dvc_exp=False) as log:

        def epoch(number: int, metrics: dict[str, float]) -> None:
            log.step = number
            for name, value in metrics.items():
                log.log_metric(name, value)
            log.make_summary()

        yield epoch
