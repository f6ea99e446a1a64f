"""DVC's own files after a kill: it rewrites two of them in place, and refuses to go on with half a file.

python -m experiments.mend: what `make repro` does first.
"""

import shutil
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

LOCK = "dvc.lock"
COPY = Path(".dvc/tmp/dvc.lock")
# What each of them ends with.
REWRITTEN = {LOCK: "\n", ".dvc/tmp/rwlock": "}"}


def damaged(folder: Path = Path()) -> list[str]:
    """Return which of DVC's files in a project are not whole."""
    return [name for name, end in REWRITTEN.items() if (folder / name).exists() and not _whole(folder / name, end)]


def main() -> None:
    """Put back the copy of dvc.lock that the last stage made as it began; remove what has no copy."""
    for name in damaged():
        Path(name).unlink()
        if name == LOCK and COPY.exists():
            shutil.copyfile(COPY, LOCK)
        print(f"{name} was damaged, as a kill can leave it; mended")


def _whole(path: Path, end: str) -> bool:
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        return YAML(typ="safe", pure=True).load(text) is not None and text.endswith(end)
    except YAMLError:
        return False


if __name__ == "__main__":
    main()
