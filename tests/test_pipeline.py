"""The whole workflow on a miniature configuration, twice, as a user runs it."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
MEASURED = {"models/latency.json", "reports/table1.json", "reports/table1.md", "reports/metrics.json"}
MINIATURE: dict[str, dict[str, Any]] = {
    "data": {"train_images": 200, "val_images": 60, "resolution": 32, "calibration_share": 0.3},
    "model": {
        "mobilenet_v2": {
            "width": 1.0,
            "stem": 8,
            "blocks": [[1, 8, 1, 2], [2, 8, 2, 1], [2, 16, 2, 2]],
            "last": 16,
            "input_offset": 128,
            "input_divisor": 128,
        }
    },
    "exits": {"channels": [8, 8, 8], "mobilenet_v2": ["block1", "block2", "block3"]},
    "train": {"threads": 1},
    "baseline": {"epochs": 2, "small_epochs": 1, "batch_size": 32},
    "disjoint": {"epochs": 2, "batch_size": 32},
    "joint": {"epochs": 1, "batch_size": 32},
    "export": {"images": 16},
    "ptq": {"images": 20},
}

pytestmark = pytest.mark.slow


def start(folder: Path) -> "subprocess.Popen[str]":
    """Copy the project's files into a Git repository in `folder`, shrink its params, and start `dvc repro`."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in tracked.stdout.split("\0"):
        if name and not name.startswith(("tests/", "reports/")) and name != "dvc.lock" and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    yaml = YAML()
    params = yaml.load(folder / "params.yaml")
    for section, values in MINIATURE.items():
        params[section].update(values)
    yaml.dump(params, folder / "params.yaml")
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    for command in (["init", "-q"], ["add", "--all"], [*identity, "commit", "-q", "-m", "miniature"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return subprocess.Popen(
        ["dvc", "repro"], cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def environment() -> dict[str, str]:
    scripts = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": scripts + os.pathsep + os.environ["PATH"]}


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two folders in which the same miniature workflow ran."""
    folders = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    processes = [start(folder) for folder in folders]
    for process in processes:
        output, _ = process.communicate()
        assert process.returncode == 0, output[-4000:]
    return folders


def outputs(folder: Path) -> dict[str, str]:
    """The MD5 that DVC recorded for every output."""
    lock = YAML(typ="safe", pure=True).load(folder / "dvc.lock")
    return {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage["outs"]}


def test_same_seed_same_bytes(twins: tuple[Path, Path]) -> None:
    first, second = map(outputs, twins)
    unmeasured = first.keys() - MEASURED - {"reports/frontier.csv", "reports/plots"}
    assert {"models/baseline", "models/joint", "models/int8/early_exit", "models/evaluation"} <= unmeasured
    assert {path: first[path] for path in unmeasured} == {path: second[path] for path in unmeasured}


def test_reports_agree_but_for_measured_times(twins: tuple[Path, Path]) -> None:
    tables = [json.loads((folder / "reports/table1.json").read_text()) for folder in twins]
    assert tables[0][0]["configuration"] == "fp32"
    for table in tables:
        for row in table:
            row.pop("speedup_measured")
    assert tables[0] == tables[1]
    frontiers = [pd.read_csv(folder / "reports/frontier.csv").drop(columns="speedup_measured") for folder in twins]
    assert list(frontiers[0]["percentile"]) == list(range(101))
    pd.testing.assert_frame_equal(frontiers[0], frontiers[1])


def test_the_plots_are_there(twins: tuple[Path, Path]) -> None:
    plots = twins[0] / "reports/plots"
    tables = {path.stem for path in plots.glob("*.csv")} - {"frontier_points"}
    assert tables <= {path.stem for path in plots.glob("*.png")}
    assert len(list(plots.glob("*.png"))) >= 8


def test_nothing_is_rerun_when_nothing_changed(twins: tuple[Path, Path]) -> None:
    begin = time.monotonic()
    done = subprocess.run(["dvc", "repro"], cwd=twins[0], env=environment(), check=True, capture_output=True, text=True)
    assert "Running stage" not in done.stdout
    assert time.monotonic() - begin < 20


def test_a_wrong_param_ends_a_stage_with_one_clear_line(twins: tuple[Path, Path]) -> None:
    path = twins[1] / "params.yaml"
    path.write_text(path.read_text().replace("w_final: 1.0", "w_final: -1.0"))
    done = subprocess.run(
        [sys.executable, "-m", "stages.joint"],
        cwd=twins[1],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "joint.w_final" in done.stderr
    assert "Traceback" not in done.stderr
