"""The folder that CMake, Arduino, PlatformIO and Zephyr take as it is: the C library in src/, metadata and examples."""

from collections.abc import Mapping
from pathlib import Path

from earlyexit.firmware import source
from earlyexit.firmware.source import Layout
from earlyexit.firmware.text import fill

VERSION = "0.1.0"  # of the project, as in pyproject.toml
HOST_EXAMPLE = "examples/host/example_main.c"

_FOLDER = Path(__file__).with_name("templates") / "packages"


def generate(library: Mapping[str, str], layout: Layout) -> dict[str, str]:
    """Return the text of every file of the folder, by its path in it.

    Args:
        library: the text of the files `source.LIBRARY` by name.
        layout: that they were generated from.
    """
    height, width, _ = layout.segments[0].shapes[layout.segments[0].input]
    values = {"version": VERSION, "arena": layout.plan.size, "flash": source.flash_bytes(layout)}
    values |= {"height": height, "width": width}
    names = sorted(path.relative_to(_FOLDER).as_posix() for path in _FOLDER.rglob("*") if path.is_file())
    files = {f"src/{name}": text for name, text in library.items()}
    return files | {name: fill(f"packages/{name}", **values) for name in names if "__pycache__" not in name}


def read_library(folder: Path) -> dict[str, str]:
    """Return the text of the files `source.LIBRARY` by name, from a `folder` with the files of `generate`."""
    return {name: (folder / "src" / name).read_text(encoding="utf-8") for name in source.LIBRARY}
