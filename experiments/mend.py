"""Repair DVC's own files after a kill: DVC rewrites two of them in place, and does not start while one is truncated.

`make repro` runs `python -m experiments.mend` first.
"""

import shutil
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

LOCK = "dvc.lock"
COPY = Path(".dvc/tmp/dvc.lock")
REWRITTEN = {LOCK: "\n", ".dvc/tmp/rwlock": "}"}
"""The files that DVC rewrites in place, and the last character of each when it is whole."""


def damaged(folder: Path = Path()) -> list[str]:
    """Return which of the files that DVC rewrites in place are truncated in a project."""
    return [name for name, end in REWRITTEN.items() if (folder / name).exists() and not _whole(folder / name, end)]


def main() -> None:
    """Restore dvc.lock from the copy that the last stage made at its begin; remove a damaged file without a copy."""
    for name in damaged():
        Path(name).unlink()
        if name == LOCK and COPY.exists():
            shutil.copyfile(COPY, LOCK)
        print(f"{name} was truncated, as a kill can leave it; repaired")


def _whole(path: Path, end: str) -> bool:
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        return YAML(typ="safe").load(text) is not None and text.endswith(end)
    except YAMLError:
        return False


if __name__ == "__main__":
    main()
