"""Every relative link and image of the repository's Markdown files leads somewhere; so do the anchors."""

import subprocess
from pathlib import Path

import pytest

from tests import ROOT
from tests.links import anchors, broken, targets


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no Git checkout")
def test_no_link_is_broken() -> None:
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, encoding="utf-8")
    except FileNotFoundError:
        pytest.skip("no Git")
    assert broken(ROOT, listed.stdout.split("\0")) == []


@pytest.mark.parametrize(
    ("heading", "slug"),
    [
        ("Two commands", "two-commands"),
        ("What's promised, and why?", "whats-promised-and-why"),
        ("`make repro`", "make-repro"),
        ("Stage A / Stage B", "stage-a--stage-b"),
        ("min_crop at 0.5", "min_crop-at-05"),
        ("See [the data](data.md)", "see-the-data"),
        ("Closed ##", "closed"),
    ],
)
def test_anchors_are_githubs(heading: str, slug: str) -> None:
    assert anchors(f"text\n\n## {heading}\n") == {slug}


def test_a_repeated_heading_is_numbered_and_a_comment_in_code_is_none() -> None:
    text = "# A\n\n## B\n\n```\n# C\n```\n\n    # D\n\n## B\n\n### B\n"
    assert anchors(text) == {"a", "b", "b-1", "b-2"}


def test_links_are_found_outside_code_only() -> None:
    text = (
        "[a](a.md) ![b](b.png) [c](<c.md>) [d](d.md 'title') <img src='e.png'> `[f](f.md)` ``[f`](f.md)``\n"
        "\n```\n[g](g.md)\n```\n\n[h]: h.md\n[web](https://example.com/i.md) [mail](mailto:i@example.com)\n"
    )
    assert sorted(targets(text)) == ["a.md", "b.png", "c.md", "d.md", "e.png", "h.md"]


def test_broken_links_are_named(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(
        "# Top\n\n[a](docs/a.md#part) [docs](docs/) [top](#top) [gone](#gone) [no](no.md)\n"
    )
    (tmp_path / "docs/a.md").write_text(
        "## Part\n\n[up](../README.md#top) [root](..) [b](b.md) ![c](c.png) [d](a.md#bart)\n"
    )
    (tmp_path / "docs/b.md").write_text("not listed\n")
    names = ["README.md", "docs/a.md", "removed.md"]
    assert broken(tmp_path, names) == [
        "README.md: #gone",
        "README.md: no.md",
        "docs/a.md: b.md",
        "docs/a.md: c.png",
        "docs/a.md: a.md#bart",
    ]
