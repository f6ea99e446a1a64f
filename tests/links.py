"""The links of Markdown files, followed as GitHub does."""

import posixpath
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

_FENCED = re.compile(r"^ {0,3}(```|~~~).*?^ {0,3}\1[ \t]*$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"(`+)(?!`).*?[^`]\1(?!`)")
_LINKS = (
    re.compile(r"\]\(\s*<?([^)\s>]+)"),
    re.compile(r"^ {0,3}\[[^\]]+\]:\s*<?([^\s>]+)", re.MULTILINE),
    re.compile(r"<(?:a|img)\s[^>]*?(?:href|src)=[\"']([^\"']+)"),
)
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)


def targets(text: str) -> list[str]:
    """Where the links and images of a document lead, those in code and those to other sites left out."""
    text = _CODE.sub("", _FENCED.sub("", text))
    found = [match[1] for link in _LINKS for match in link.finditer(text)]
    return [target for target in found if not _ELSEWHERE.match(target)]


def anchors(text: str) -> set[str]:
    """The names that GitHub gives the headings: lower case, no punctuation, hyphens for spaces, repeats numbered."""
    found: set[str] = set()
    seen: Counter[str] = Counter()
    for match in _HEADING.finditer(_FENCED.sub("", text)):
        words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", match[1]).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def broken(root: Path, names: Iterable[str]) -> list[str]:
    """The links of the Markdown files among `names` that lead to none of `names`, or to no heading: `FILE: TARGET`."""
    files = {name for name in names if (root / name).is_file()}
    folders = {str(folder) for name in files for folder in PurePosixPath(name).parents}
    texts = {name: (root / name).read_text(encoding="utf-8") for name in sorted(files) if name.endswith(".md")}
    found = []
    for name, text in texts.items():
        for target in targets(text):
            path, _, anchor = unquote(target).partition("#")
            to = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else name
            there = to in files or to in folders
            if not there or (anchor and anchor not in anchors(texts.get(to, ""))):
                found.append(f"{name}: {target}")
    return found
