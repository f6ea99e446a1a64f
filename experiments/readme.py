"""The generated parts of the README: tables that stages wrote, between markers."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

from earlyexit.common.files import write_text

_BLOCK = re.compile(r"(<!-- generated: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(text: str, content: Callable[[str], str]) -> str:
    """Replace what stands between `<!-- generated: NAME -->` and `<!-- end -->` with `content(NAME)`."""
    return _BLOCK.sub(lambda match: f"{match[1]}{content(match[2]).rstrip()}\n{match[3]}", text)


def main() -> None:
    """Fill the README named by the first argument with the files its markers name, relative to it."""
    path = Path(sys.argv[1])
    text = path.read_text(encoding="utf-8")
    write_text(path, fill(text, lambda name: (path.parent / name).read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
