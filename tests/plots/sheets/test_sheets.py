from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from earlyexit.dataset import PackedSplit
from earlyexit.plots import style
from earlyexit.plots.sheets import choice, examples, samples
from earlyexit.plots.sheets.sheet import GAP, Sheet
from earlyexit.policy import decision
from earlyexit.raw import layout
from earlyexit.sources import coco_folder
from tests.coco_source import write_source
from tests.plots import results

SIZES = np.linspace(0, 1, 60)


def split(n: int, size: int = 8, seed: int = 0) -> PackedSplit:
    images = np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    return PackedSplit(images, np.arange(n, dtype=np.int64) % 2, np.arange(n, dtype=np.int64))


def colours(sheet: Sheet) -> dict[str, int]:
    found = sheet.image.getcolors(1 << 24) or []
    return {f"#{r:02x}{g:02x}{b:02x}": count for count, (r, g, b) in found}  # type: ignore[misc]


def test_spread_is_even_and_goes_from_sure_to_unsure() -> None:
    rows, margins = np.arange(100, 110), np.array([5, 1, 9, 3, 7, 0, 8, 2, 6, 4])
    assert [margins[row - 100] for row in choice.spread(rows, margins, 5)] == [8, 6, 4, 2, 0]
    assert [margins[row - 100] for row in choice.spread(rows, margins, 10)] == list(range(9, -1, -1))
    assert choice.spread(rows[:3], margins[:3], 5).tolist() == [102, 100, 101]
    assert choice.spread(rows[:0], margins[:0], 5).tolist() == []


def test_chosen_examples_leave_at_their_exit_and_are_on_their_side() -> None:
    evaluation = results.evaluation(n=200)
    decisions = decision.decide(evaluation.int8_early_exit, results.thresholds().margins[50])
    for number, (right, wrong) in enumerate(choice.choose(evaluation, decisions)):
        assert (decisions.exits[[*right, *wrong]] == number).all()
        assert (decisions.labels[right] == evaluation.labels[right]).all()
        assert (decisions.labels[wrong] != evaluation.labels[wrong]).all()
        assert len(right) <= choice.RIGHT and len(wrong) <= choice.WRONG
        assert len(set(right)) == len(right)


def test_examples_have_a_border_each(tmp_path: Path) -> None:
    evaluation = results.evaluation()
    thresholds = results.thresholds().margins[50]
    sheet = examples.draw(evaluation, split(60), results.names(3), thresholds, 50, SIZES)
    decisions = decision.decide(evaluation.int8_early_exit, thresholds)
    chosen = choice.choose(evaluation, decisions)
    ring = (examples.TILE + 8) ** 2 - examples.TILE**2
    for side, colour in enumerate((style.RIGHT, style.WRONG)):
        # The headings' letters are of the same colour.
        count = sum(len(pair[side]) for pair in chosen)
        assert 0 < colours(sheet)[colour] - count * ring < ring
    sheet.save(tmp_path / "one.png")
    examples.draw(evaluation, split(60), results.names(3), thresholds, 50, SIZES).save(tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


@pytest.mark.parametrize("threshold", [-1, 255])
def test_examples_where_no_image_leaves_at_an_exit(threshold: int) -> None:
    sheet = examples.draw(results.evaluation(exits=1), split(60), results.names(1), [threshold], 50, SIZES)
    assert colours(sheet)[style.RIGHT] > 0


def test_examples_refuse_other_images() -> None:
    with pytest.raises(ValueError, match="rerun the evaluate stage"):
        examples.draw(results.evaluation(), split(59), results.names(3), results.thresholds().margins[50], 50, SIZES)


def test_samples_are_half_persons_and_the_same_every_time() -> None:
    many = split(200)
    none, person = samples.choose(many)
    assert len(none) == len(person) == 32
    assert (many.labels[none] == 0).all() and (many.labels[person] == 1).all()
    assert np.array_equal(person, samples.choose(many)[1])
    assert [len(ids) for ids in samples.choose(split(7))] == [3, 3]


def raw(tmp_path: Path) -> Path:
    source, folder = write_source(tmp_path / "source"), tmp_path / "raw"
    folder.mkdir()
    coco_folder.store_folder(source, folder)
    return folder


def test_samples_show_photographs_and_boxes(tmp_path: Path) -> None:
    folder = raw(tmp_path)
    path = layout.annotations_path(folder, "train")
    path.write_text(path.read_text().replace("[10, 10.0, 30, 20]", "[6, 12, 30, 20]"))
    train = PackedSplit(np.zeros((4, 8, 8, 3), np.uint8), np.array([1, 0, 1, 0]), np.array([1, 2, 3, 4]))
    sheet = samples.draw(folder, train, "1 (person) if so, else 0")
    # Two boxes of 30 x 20 in photographs of 60 x 40: half a tile wide, a third of one high.
    outline = 2 * (samples.TILE * 30 // 60 + samples.TILE * 20 // 60)
    assert colours(sheet)[samples.BOX] == pytest.approx(2 * outline, rel=0.05)
    drawn = (np.asarray(sheet.image) == ImageColor.getrgb(samples.BOX)).all(2)
    assert np.flatnonzero(drawn.any(0))[0] == GAP + samples.TILE * 6 // 60
    assert np.ptp(np.flatnonzero(drawn.any(1))) == pytest.approx(samples.TILE * 20 / 60, abs=1)
    sheet.save(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.size == sheet.image.size
        assert picture.getpixel((0, 0)) == (255, 255, 255)
