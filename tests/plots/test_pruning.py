from pathlib import Path

from PIL import Image

from earlyexit.plots import pruning, style

COST = {"channels": [8], "macs": 4000, "weights": 90, "cycles": 9000}
LOST = {
    "groups": [{"channels": 8, "left": 4}],
    "parts": [{"part": name, "before": COST, "after": {**COST, "macs": 1000}} for name in ("stem", "block1", "final")],
}
WHOLE = {"groups": [{"channels": 8, "left": 8}], "parts": [{"part": "stem", "before": COST, "after": COST}]}


def test_the_table_holds_the_networks_that_lost_channels() -> None:
    table = pruning.parts({"baseline": LOST, "early_exit": WHOLE})
    assert list(table["network"]) == ["baseline"] * 3
    assert list(table["part"]) == ["stem", "block1", "final"]
    assert (table["macs_before"].sum(), table["macs_after"].sum()) == (12000, 3000)
    assert len(pruning.parts({"baseline": WHOLE, "early_exit": WHOLE})) == 0


def test_the_figure_becomes_the_same_small_file(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        style.save_figure(tmp_path / name, pruning.draw(pruning.parts({"baseline": LOST, "early_exit": LOST})))
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.width == round(style.WIDTH * style.DPI)
        assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 20
