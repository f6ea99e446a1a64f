"""What DVC's own commands show in a clone whose data, models and cache are elsewhere."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rehearsal.miniature import commit, environment, tracked
from tests import ROOT

MOST_ROWS = 30
WIDTH = 120


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as it is committed, and in the workspace what another w_final could have made of its metrics."""
    folder = tmp_path_factory.mktemp("clone")
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    commit(folder)
    path = folder / "reports/metrics.json"
    metrics = json.loads(path.read_text())
    changed = {row: {name: 1.01 * value for name, value in numbers.items()} for row, numbers in metrics.items()}
    path.write_text(json.dumps(changed))
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("w_final: 1.0", "w_final: 0.5"))
    return folder


def run(folder: Path, *command: str) -> str:
    shell = {**environment(), "COLUMNS": str(WIDTH)}
    done = subprocess.run(command, cwd=folder, env=shell, check=True, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert "failed" not in said.lower()
    return said


def test_metrics_diff_is_one_screen_without_gaps(clone: Path) -> None:
    head, *rows = run(clone, "dvc", "metrics", "diff").splitlines()
    assert head.split() == ["Path", "Metric", "HEAD", "workspace", "Change"]
    assert 20 <= len(rows) <= MOST_ROWS
    for row in rows:
        path, _, *values = row.split()
        assert path == "reports/metrics.json"
        assert len([float(value) for value in values]) == 3


def test_plots_diff_draws_both(clone: Path) -> None:
    run(clone, "dvc", "plots", "diff")
    page = (clone / "dvc_plots/index.html").read_text(encoding="utf-8")
    assert "frontier" in page
    assert "workspace" in page


def test_the_table_of_experiments_fits_a_terminal(clone: Path) -> None:
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nshow:")[2].splitlines()[1]
    command = re.fullmatch(r"\t\$\(RUN\) (dvc exp show) --only-changed --drop '(.*)'", recipe.replace("$$", "$"))
    assert command is not None
    lines = run(clone, *command[1].split(), "--only-changed", "--drop", command[2], "--no-pager").splitlines()
    assert max(map(len, lines)) <= WIDTH
    columns = next(line for line in lines if "Experiment" in line).split()
    assert columns == [
        *("Experiment", "final.accuracy", "p50.accuracy", "p50.early_exit_rate", "p50.speedup_measured"),
        "joint.w_final",
    ]
