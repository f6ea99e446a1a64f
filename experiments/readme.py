"""The generated blocks of README.md and docs/*.md: tables that stages wrote, between markers.

python -m experiments.readme: fill them; `make readme` does it.
"""

import re
from collections.abc import Callable
from pathlib import Path

from earlyexit.common.files import write_text
from stages import run

BLOCK = re.compile(
    r"^(<!-- generated: (\S+) -->\n)(?:(?!<!-- generated: ).)*?^(<!-- end -->)$", re.DOTALL | re.MULTILINE
)
_BEGIN = re.compile(r"^<!-- generated: (\S+) -->$", re.MULTILINE)


def documents(root: Path) -> list[Path]:
    """Return the files that may hold generated blocks: README.md and docs/*.md."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def fill(text: str, content: Callable[[str], str]) -> str:
    """Replace what stands between `<!-- generated: NAME -->` and `<!-- end -->` with `content(NAME)`.

    Raises:
        ValueError: a block has no end.
    """
    whole = {match.start() for match in BLOCK.finditer(text)}
    for match in _BEGIN.finditer(text):
        if match.start() not in whole:
            raise ValueError(f"the block {match[1]} has no line <!-- end -->")
    return BLOCK.sub(lambda match: f"{match[1]}{content(match[2]).rstrip()}\n{match[3]}", text)


def main(root: Path = Path()) -> None:
    """Fill every block with the file that its marker names, a path from the repository's root.

    Raises:
        ValueError: a block has no end; the message names the document and the block.
        FileNotFoundError: there is no such file.
    """
    for path in documents(root):
        text = path.read_text(encoding="utf-8")
        try:
            filled = fill(text, lambda name: (root / name).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        if filled != text:
            write_text(path, filled)


if __name__ == "__main__":
    run(main)
