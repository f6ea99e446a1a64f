"""A copy of the project with miniature params, in a Git repository of its own; what a run wrote there."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
MEASURED = {
    "models/latency.json",
    "models/unpruned.json",
    "reports/table1.json",
    "reports/table1.md",
    "reports/metrics.json",
    "reports/policies.json",
    "reports/policies.md",
    "reports/frontier.csv",
    "reports/plots",
    "reports/run.json",
    "reports/report.html",
    "reports/model_card.md",
    "models/hub",
}
"""Outputs that hold measured times or the commit, or are drawn from them."""
MINIATURE: dict[str, dict[str, Any]] = {
    "data": {"train_images": 120, "val_images": 40, "resolution": 32, "calibration_share": 0.3},
    "model": {
        "mobilenet_v2": {
            "width": 1.0,
            "stem": 8,
            "blocks": [[1, 8, 1, 2], [2, 8, 1, 1], [1, 16, 1, 2]],
            "last": 16,
            "input_offset": 128,
            "input_divisor": 128,
        }
    },
    "exits": {"head": "pooled", "mobilenet_v2": ["block1", "block3"]},
    "train": {"threads": 1},
    "baseline": {"epochs": 2, "small_epochs": 1, "batch_size": 32},
    "disjoint": {"epochs": 2, "batch_size": 32},
    "joint": {"epochs": 1, "batch_size": 32},
    "export": {"images": 16},
    "ptq": {"images": 20},
    "benchmark": {"passes": 1},
    "firmware": {"policy": "patience2"},
    "emulate": {"images": 4, "cascade_images": 4},
}


def make(folder: Path, changes: dict[str, dict[str, Any]] | None = None) -> Path:
    """Copy the project into a Git repository in `folder`, with the params of `MINIATURE` and `changes`, by section."""
    copy(folder)
    yaml = YAML(typ="safe", pure=True)
    params = yaml.load(folder / "params.yaml")
    for section, values in [*MINIATURE.items(), *(changes or {}).items()]:
        params[section].update(values)
    yaml.dump(params, folder / "params.yaml")
    commit(folder)
    return folder


def copy(folder: Path) -> None:
    """Copy the project's files into `folder`, without tests and what a run wrote."""
    for name in tracked():
        if not name.startswith(("tests/", "reports/")) and name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def tracked() -> list[str]:
    """Return the project's files: all that Git does not ignore."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return [name for name in names if name and (ROOT / name).is_file()]


def commit(folder: Path) -> None:
    """Make `folder` a Git repository, with all its files in one commit."""
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    for command in (["init", "-q"], ["add", "--all"], [*identity, "commit", "-q", "-m", "all files"]):
        subprocess.run(["git", *command], cwd=folder, check=True)


def environment() -> dict[str, str]:
    """Return the environment of a shell in which this Python's scripts come first, and DVC starts stages by `sh`.

    DVC takes the user's shell. Some, such as bash, give their place to a single command; sh may not.
    """
    scripts = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": scripts + os.pathsep + os.environ["PATH"], "SHELL": "/bin/sh"}


def unmeasured(folder: Path) -> dict[str, str]:
    """Return the MD5 that DVC recorded for each output that holds no measured times."""
    lock = YAML(typ="safe", pure=True).load(folder / "dvc.lock")
    outputs = {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage["outs"]}
    return {path: digest for path, digest in outputs.items() if not measured(path)}


def measured(path: str) -> bool:
    """Return whether a file or output holds measured times, or is drawn from them."""
    return any(path == output or path.startswith(f"{output}/") for output in MEASURED)


def files(folder: Path) -> dict[str, str]:
    """Return the MD5 of each file at its final name under data, models and reports."""
    found = (path for top in ("data", "models", "reports") for path in (folder / top).rglob("*") if path.is_file())
    names = sorted(path.relative_to(folder).as_posix() for path in found)
    return {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in names if "/." not in name}


def leftovers(folder: Path) -> list[str]:
    """Return what unfinished stages left under data, models and reports: parts of outputs, states of trainings."""
    hidden = [path for top in ("data", "models", "reports") for path in (folder / top).rglob(".*")]
    states = (folder / "models/.unfinished").glob("*")
    found = [*(path for path in hidden if path.name != ".unfinished"), *states]
    return sorted(path.relative_to(folder).as_posix() for path in found)
