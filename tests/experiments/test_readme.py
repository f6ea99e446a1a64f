"""The generated blocks of README.md and docs/*.md: how they are filled; none that is committed is stale."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments import readme
from experiments.readme import BLOCK, fill
from tests import ROOT

BLOCKS = "a\n<!-- generated: x.md -->\nold\nlines\n<!-- end -->\nb\n<!-- generated: y.md -->\n<!-- end -->\n"


def committed(name: str) -> str:
    """The content of a file in the last commit, which a run of the workflow on this machine does not change."""
    return git("show", f"HEAD:./{name}")


def git(*arguments: str) -> str:
    command = ["git", *arguments]
    try:
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, encoding="utf-8").stdout
    except FileNotFoundError:
        pytest.skip("no Git")


def stale(text: str, content: Callable[[str], str]) -> list[str]:
    """The names of the blocks that differ from `content(NAME)`."""
    pairs = zip(BLOCK.finditer(text), BLOCK.finditer(fill(text, content)), strict=True)
    return [old[2] for old, new in pairs if old[0] != new[0]]


def test_what_stands_between_the_markers_is_replaced_and_nothing_else() -> None:
    filled = fill(BLOCKS, lambda name: f"| {name} |\n\n")
    expected = (
        "a\n<!-- generated: x.md -->\n| x.md |\n<!-- end -->\nb\n<!-- generated: y.md -->\n| y.md |\n<!-- end -->\n"
    )
    assert filled == expected
    assert fill(filled, lambda name: f"| {name} |") == filled


def test_a_marker_within_a_line_begins_no_block() -> None:
    text = "write `<!-- generated: x.md -->` above and `<!-- end -->` below\n"
    assert fill(text, lambda name: "new") == text


@pytest.mark.parametrize(
    "text",
    [
        "<!-- generated: x.md -->\n| a |\n",
        "<!-- generated: x.md -->\n| a |\n<!-- generated: y.md -->\n| b |\n<!-- end -->\n",
        "<!-- generated: x.md -->\n| a |\n<!-- end --> and so on\n",
    ],
)
def test_a_block_without_an_end_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^the block x\.md has no line <!-- end -->$"):
        fill(text, lambda name: "new")


def test_blocks_of_all_documents_are_filled_by_paths_from_the_root(tmp_path: Path) -> None:
    for folder in ("docs", "reports"):
        (tmp_path / folder).mkdir()
    (tmp_path / "reports/a.md").write_text("| a |\n")
    for name in ("README.md", "docs/results.md"):
        (tmp_path / name).write_text("<!-- generated: reports/a.md -->\n<!-- end -->\n")
    (tmp_path / "docs/plain.md").write_text("no block\n")
    readme.main(tmp_path)
    for name in ("README.md", "docs/results.md"):
        assert (tmp_path / name).read_text() == "<!-- generated: reports/a.md -->\n| a |\n<!-- end -->\n"
    assert (tmp_path / "docs/plain.md").read_text() == "no block\n"


def test_the_document_of_a_bad_block_is_named(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("<!-- generated: reports/a.md -->\n")
    with pytest.raises(ValueError, match=r"README\.md: the block reports/a\.md has no line"):
        readme.main(tmp_path)
    (tmp_path / "README.md").write_text("<!-- generated: reports/a.md -->\n<!-- end -->\n")
    with pytest.raises(FileNotFoundError, match=r"reports/a\.md"):
        readme.main(tmp_path)


def test_a_stale_block_is_found() -> None:
    reports = {"x.md": "new\nlines\n", "y.md": "\n"}
    assert stale(BLOCKS, lambda name: reports[name]) == ["x.md", "y.md"]
    filled = fill(BLOCKS, lambda name: reports[name])
    assert stale(filled, lambda name: reports[name]) == []
    assert stale(filled, lambda name: reports[name] + "| one more row |\n") == ["x.md", "y.md"]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no Git checkout")
def test_no_committed_block_is_stale() -> None:
    names = git("ls-tree", "--name-only", "HEAD", "README.md", "docs/").splitlines()
    documents = {name: committed(name) for name in names if name.endswith(".md")}
    assert {name: stale(text, committed) for name, text in documents.items()} == {name: [] for name in documents}
    blocks = {match[2] for text in documents.values() for match in BLOCK.finditer(text)}
    assert {"reports/table1.md", "reports/memory.md", "reports/wall_time.md"} <= blocks
