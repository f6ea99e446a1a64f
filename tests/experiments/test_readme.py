from experiments.readme import fill
from tests import ROOT


def test_what_stands_between_the_markers_is_replaced_and_nothing_else() -> None:
    text = "a\n<!-- generated: x.md -->\nold\nlines\n<!-- end -->\nb\n<!-- generated: y.md -->\n<!-- end -->\n"
    filled = fill(text, lambda name: f"| {name} |\n\n")
    expected = (
        "a\n<!-- generated: x.md -->\n| x.md |\n<!-- end -->\nb\n<!-- generated: y.md -->\n| y.md |\n<!-- end -->\n"
    )
    assert filled == expected
    assert fill(filled, lambda name: f"| {name} |") == filled


def test_the_readme_marks_the_tables_that_stages_write() -> None:
    names: list[str] = []

    def note(name: str) -> str:
        names.append(name)
        return ""

    fill((ROOT / "README.md").read_text(encoding="utf-8"), note)
    assert {"reports/table1.md", "reports/memory.md", "reports/wall_time.md"} <= set(names)
