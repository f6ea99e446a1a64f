from pathlib import Path

import pytest
from PIL import Image

from earlyexit.model.architecture import Attached
from earlyexit.placement import report
from earlyexit.placement.search import searches
from earlyexit.plots import placement, style
from tests.placement import found

CHOICES = [found.alternatives(head, 5) for head in ("separable", "pooled")]
SEARCHES = list(searches(found.candidates(5, 60), CHOICES, unit="cycles", loss=0.02, budget=(10**9, 10**9)))
CONTENT = report.report(SEARCHES, 2, 0.02, Attached(exits=["block2"], head="pooled"))


def test_the_table_holds_every_candidate_and_the_best_sets() -> None:
    table = placement.candidates(CONTENT)
    assert table["kind"].value_counts().to_dict() == {"candidate": 10, "set": 4}
    first = table.iloc[0]
    entry = CONTENT["candidates"][0]
    assert (first["exits"], first["head"], first["accuracy"]) == (entry["block"], entry["head"], entry["accuracy"])
    assert first["cost"] == pytest.approx(entry["cost"] / 1000)
    sets = table[table["kind"] == "set"]
    assert list(sets["cost"]) == pytest.approx([1 / one["speedup"] for one in CONTENT["best"]])
    assert list(sets["loss"]) == [one["loss"] for one in CONTENT["best"]]


def test_given_exits_leave_the_table_empty() -> None:
    table = placement.candidates({"placement": "given", "exits": ["block2"], "head": "pooled"})
    assert len(table) == 0
    assert list(table.columns) == list(placement.candidates(CONTENT).columns)


def test_the_figure_becomes_the_same_small_file(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        style.save_figure(tmp_path / name, placement.draw(placement.candidates(CONTENT), CONTENT))
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.width == round(style.WIDTH * style.DPI)
        assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 20
