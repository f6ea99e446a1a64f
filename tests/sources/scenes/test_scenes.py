import json
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from earlyexit.sources.scenes import Scene, draw, write
from earlyexit.sources.scenes.camera import photograph
from earlyexit.sources.scenes.canvas import SUPERSAMPLE, Canvas
from earlyexit.sources.scenes.compose import MIN_AREA, _Item, _lay_out, _paint, _seen
from earlyexit.sources.scenes.dice import Dice
from earlyexit.sources.scenes.people import draw_person
from earlyexit.sources.scenes.settings import GAP, LONG_SIDE, QUALITY
from earlyexit.sources.scenes.skeleton import SHIN, THIGH, build, random_pose
from earlyexit.sources.scenes.things import THINGS, Thing
from earlyexit.sources.scenes.write import CATEGORIES

SAMPLE = 400


@cache
def sample() -> tuple[Scene, ...]:
    return tuple(draw(0, "val", index) for index in range(SAMPLE))


def largest_share(scene: Scene) -> float:
    height, width = scene.image.shape[:2]
    return max((seen.area / (width * height) for seen in scene.objects if seen.category == "person"), default=0.0)


def labels() -> NDArray[np.bool_]:
    return np.array([largest_share(scene) >= MIN_AREA for scene in sample()])


def test_draw_is_a_pure_function() -> None:
    once, other = draw(3, "train", 5), draw(3, "train", 6)
    again = draw(3, "train", 5)
    assert np.array_equal(once.image, again.image)
    assert (once.objects, once.quality) == (again.objects, again.quality)
    assert once.image.shape != other.image.shape or not np.array_equal(once.image, other.image)


@pytest.mark.parametrize("other", [(1, "val", 4), (0, "train", 4), (0, "val", 6)])
def test_every_argument_changes_the_scene(other: tuple[int, str, int]) -> None:
    one, two = sample()[4].image, draw(*other).image
    assert one.shape != two.shape or not np.array_equal(one, two)


@pytest.mark.parametrize(
    ("arguments", "named"), [((0, "test", 0), "split"), ((-1, "val", 0), "seed"), ((0, "val", -1), "index")]
)
def test_draw_refuses(arguments: tuple[int, str, int], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        draw(*arguments)


def test_even_scenes_hold_a_person_and_odd_ones_none() -> None:
    assert labels().tolist() == [index % 2 == 0 for index in range(SAMPLE)]


def test_no_person_is_near_the_border_of_the_rule() -> None:
    for scene in sample():
        height, width = scene.image.shape[:2]
        for seen in scene.objects:
            assert seen.category != "person" or not GAP[0] < seen.area / (width * height) < GAP[1]


def test_boxes_lie_inside_the_picture() -> None:
    for scene in sample():
        height, width = scene.image.shape[:2]
        for name, (x, y, w, h), area in scene.objects:
            assert name in CATEGORIES
            assert x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= width and y + h <= height
            assert 0 < area <= w * h


def test_a_person_covers_about_half_of_the_box() -> None:
    persons = [seen for scene in sample() for seen in scene.objects if seen.category == "person"]
    shares = [seen.area / (seen.box[2] * seen.box[3]) for seen in persons]
    assert 0.4 < np.median(shares) < 0.7


def test_the_area_is_what_a_tree_in_front_leaves_of_a_person() -> None:
    plan = _lay_out(Dice(0))
    tree = next(thing for thing in THINGS if thing.category == "tree")
    person = _Item(None, 200, 300, 200, leading=True, key=5)
    plan.items = [person]
    alone = _seen(_paint(plan, Dice(1))[0], plan.items)
    plan.items = [person, _Item(tree, 205, 310, 120, key=6)]
    canvas, _ = _paint(plan, Dice(1))
    behind, front = _seen(canvas, plan.items)
    assert (behind.category, front.category) == ("person", tree.category)
    assert behind.area == (canvas.pixels[..., 3] == 1).sum() / SUPERSAMPLE**2
    assert 0 < behind.area < alone[0].area


def test_pictures_are_as_the_settings_say() -> None:
    for scene in sample():
        assert scene.image.dtype == np.uint8
        assert LONG_SIDE[0] <= max(scene.image.shape) <= LONG_SIDE[1]
        assert QUALITY[0] <= scene.quality <= QUALITY[1]


def test_persons_come_in_all_sizes_and_some_are_too_small_to_count() -> None:
    shares = np.array([largest_share(scene) for scene in sample()])
    heights = [
        h / scene.image.shape[0] for scene in sample() for name, (_, _, _, h), _ in scene.objects if name == "person"
    ]
    assert ((shares > 0) & (shares < MIN_AREA)).any()
    assert min(heights) < 0.1 and max(heights) > 0.8
    assert np.quantile(shares[labels()], 0.1) < 0.06 < 0.15 < np.quantile(shares[labels()], 0.9)


TRIVIAL: dict[str, Callable[[Scene], float]] = {
    "width": lambda scene: scene.image.shape[1],
    "height": lambda scene: scene.image.shape[0],
    "quality": lambda scene: scene.quality,
    "brightness": lambda scene: float(scene.image.mean()),
    "red": lambda scene: float(scene.image[..., 0].mean() - scene.image[..., 2].mean()),
    "contrast": lambda scene: float(scene.image.std()),
    "noise": lambda scene: float(np.abs(np.diff(scene.image.astype(int), axis=1)).mean()),
    "sharpness": lambda scene: float(cv2.Laplacian(scene.image, cv2.CV_64F).var()),
    "saturation": lambda scene: float(np.ptp(scene.image, axis=2).mean()),
    "objects": lambda scene: len(scene.objects),
}


@pytest.mark.parametrize("name", TRIVIAL)
def test_nothing_trivial_tells_the_label(name: str) -> None:
    values = np.array([TRIVIAL[name](scene) for scene in sample()], float)
    truth = labels()
    ranked = mannwhitneyu(values[truth], values[~truth]).statistic / (truth.sum() * (~truth).sum())
    # Promised is an area under the curve within 0.05 of chance; two standard deviations of 200 against 200 are 0.058.
    assert abs(ranked - 0.5) < 0.05 + 0.058


def test_write_gives_the_same_bytes_for_any_number_of_workers(tmp_path: Path) -> None:
    write(tmp_path / "one", train=36, val=5, seed=4, workers=1)
    write(tmp_path / "two", train=36, val=5, seed=4, workers=2)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert [str(file) for file in files] == [
        "annotations/instances_train.json", "annotations/instances_val.json", "images/train.zip", "images/val.zip",
    ]  # fmt: skip
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_write_follows_coco(tmp_path: Path) -> None:
    write(tmp_path / "set", train=4, val=6, seed=0, workers=1)
    content = json.loads((tmp_path / "set/annotations/instances_val.json").read_text())
    assert content["categories"][0] == {"id": 1, "name": "person"}
    archive = zipfile.ZipFile(tmp_path / "set/images/val.zip")
    assert archive.namelist() == [f"val/{image['file_name']}" for image in content["images"]]
    assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
    names = {category["id"]: category["name"] for category in content["categories"]}
    for index, image in enumerate(content["images"]):
        scene = draw(0, "val", index)
        found = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        assert [(names[a["category_id"]], tuple(a["bbox"]), a["area"]) for a in found] == scene.objects
        jpeg = np.frombuffer(archive.read(f"val/{image['file_name']}"), np.uint8)
        decoded = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
        assert decoded is not None and decoded.shape[:2] == (image["height"], image["width"])
        assert np.abs(decoded[..., ::-1].astype(int) - scene.image).mean() < 12
    train = json.loads((tmp_path / "set/annotations/instances_train.json").read_text())
    assert not {image["id"] for image in train["images"]} & {image["id"] for image in content["images"]}


@pytest.mark.parametrize("wrong", [{"train": 0}, {"val": 0}, {"workers": 0}, {"seed": -1}])
def test_write_refuses(tmp_path: Path, wrong: dict[str, int]) -> None:
    arguments = {"train": 2, "val": 2, "seed": 0, "workers": 1} | wrong
    with pytest.raises(ValueError, match=next(iter(wrong))):
        write(tmp_path / "set", **arguments)
    assert not (tmp_path / "set").exists()


def test_visible_is_what_the_last_shape_leaves() -> None:
    canvas = Canvas(40, 30)
    canvas.owner = 1
    canvas.rectangle(5, 5, 20, 20, (255, 0, 0))
    canvas.owner = 2
    canvas.rectangle(10, 0, 39, 29, (0, 255, 0))
    seen = canvas.visible()(1)
    assert seen is not None
    assert tuple(seen) == (5, 5, 5, 16, 80)
    assert canvas.visible()(3) is None


def test_limbs_keep_their_length_in_any_pose() -> None:
    dice = Dice(0)
    for _ in range(100):
        bones = build(random_pose(dice))
        for side in (0, 1):
            thigh = np.subtract(bones.knees[side], bones.hips[side])
            shin = np.subtract(bones.ankles[side], bones.knees[side])
            assert np.linalg.norm(thigh) == pytest.approx(THIGH)
            assert np.linalg.norm(shin) == pytest.approx(SHIN)


def test_a_person_is_about_as_tall_as_asked() -> None:
    for key in range(60):
        canvas = Canvas(600, 600)
        canvas.owner = 1
        draw_person(canvas, Dice(key), 300, 500, 200)
        seen = canvas.visible()(1)
        assert seen is not None
        assert 40 < max(seen.width, seen.height) < 330
        assert seen.y + seen.height < 580


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.draw.__name__)
def test_every_thing_draws_itself_in_its_own_name(thing: Thing) -> None:
    for key in range(10):
        canvas = Canvas(900, 700)
        canvas.owner = 7
        thing.draw(canvas, Dice(key), 450, 600, 150)
        assert set(np.unique(canvas.pixels[..., 3])) == {0, 7}
        seen = canvas.visible()(7)
        assert seen is not None
        assert seen.y + seen.height < 640


def test_photograph_halves_the_canvas() -> None:
    canvas = Canvas(60 * SUPERSAMPLE, 40 * SUPERSAMPLE)
    canvas.pixels[..., :3] = 128
    image = photograph(canvas, Dice(0))
    assert image.shape == (40, 60, 3)
    assert 60 < image.mean() < 200


def test_dice_weighs_and_bounds() -> None:
    dice = Dice(1)
    picks = [dice.weighted((("rare", 0.1), ("often", 0.9))) for _ in range(4000)]
    assert 0.07 < picks.count("rare") / 4000 < 0.13
    assert {dice.whole(2, 5) for _ in range(500)} == {2, 3, 4, 5}
    assert all(-0.5 < dice.spread(0.5) < 0.5 for _ in range(500))
