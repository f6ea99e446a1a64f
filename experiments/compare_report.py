"""`python -m experiments.compare_report REV1 REV2 [FILE]`: the page with two runs in each picture.

A revision is a commit, a branch, a tag or an experiment. Only reports that Git tracks are read. FILE is
reports/compare.html by default.
"""

import sys
from collections.abc import Sequence

from dvc.exceptions import NotDvcRepoError
from dvc.repo import Repo
from dvc.scm import RevError, resolve_rev

from earlyexit.common.files import write_text
from earlyexit.page import render, run
from earlyexit.page.run import Run
from experiments.finished import Experiment
from stages import run as run_script

FILE = "reports/compare.html"


def read(revisions: Sequence[str], folder: str = ".") -> list[Run]:
    """Return the runs of revisions, each from the reports that Git tracks there.

    Raises:
        ValueError: a revision is unknown, or its reports are incomplete; names both.
    """
    try:
        repo = Repo(folder)
    except NotDvcRepoError as error:
        raise ValueError(f"{folder}: no DVC project ({error})") from error
    runs = []
    for name in revisions:
        try:
            experiment = Experiment(name, resolve_rev(repo.scm, name), repo)
            runs.append(run.read(name, experiment.read))
        except RevError:
            raise ValueError(f"{name}: no commit, branch, tag or experiment of that name; see `dvc exp list`") from None
        except ValueError as error:
            raise ValueError(f"{name}: {error}; then commit its reports") from None
    return runs


def main() -> None:
    """Write the page.

    Raises:
        ValueError: not two or three arguments; or as `read`.
    """
    if len(sys.argv) not in (3, 4):
        raise ValueError("usage: python -m experiments.compare_report REV1 REV2 [FILE], e.g. main my-experiment")
    first, second, *rest = sys.argv[1:]
    file = rest[0] if rest else FILE
    write_text(file, render.page(read([first, second])))
    print(f"{file}: open it in a browser")


if __name__ == "__main__":
    run_script(main)
