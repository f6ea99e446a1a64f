import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from earlyexit.raw import coco
from tests.coco_source import content, write_content, write_source

WIDTH, HEIGHT = 60, 40


def read(folder: Path, value: object) -> coco.Instances:
    return coco.read_instances(write_content(folder, "train", value), "box")


def with_boxes(*boxes: list[float], category: int = 1, **more: object) -> dict[str, Any]:
    value = content("val")
    value["images"] = [{"id": 7, "file_name": "7.jpg", "width": WIDTH, "height": HEIGHT}]
    value["annotations"] = [{"image_id": 7, "category_id": category, "bbox": box, **more} for box in boxes]
    return value


def share(folder: Path, *boxes: list[float], **more: Any) -> float:
    return read(folder, with_boxes(*boxes, **more)).photographs[0].box_share


def test_photographs_come_in_order_of_id_with_their_largest_person(tmp_path: Path) -> None:
    found = read(tmp_path, content("train"))
    assert [photograph.id for photograph in found.photographs] == list(range(1, 25))
    assert found.photographs[2] == coco.Photograph(3, "000003.jpg", WIDTH, HEIGHT, 1, 600 / 2400, 600 / 2400)
    assert found.photographs[3].box_share == 0
    assert not found.skips


def test_the_largest_box_counts(tmp_path: Path) -> None:
    assert share(tmp_path, [0, 0, 6, 4], [0, 0, 30, 20], [5, 5, 6, 4]) == 0.25


def test_crowds_count_and_other_categories_do_not(tmp_path: Path) -> None:
    assert share(tmp_path, [0, 0, 30, 20], iscrowd=1) == 0.25
    assert share(tmp_path, [0, 0, 30, 20], category=2) == 0
    assert share(tmp_path) == 0


def test_crowds_can_be_passed_over(tmp_path: Path) -> None:
    value = with_boxes([0, 0, 6, 4], [0, 0, 0, 0])
    value["annotations"] += with_boxes([0, 0, 30, 20], [0, 0, 900, 20], iscrowd=1)["annotations"]
    assert read(tmp_path, value).skips[0].reason == "bad box"
    found = coco.read_instances(tmp_path / "annotations" / "instances_train.json", "box", crowds=False).photographs[0]
    assert (found.persons, found.box_share) == (2, 24 / 2400)


def test_person_boxes(tmp_path: Path) -> None:
    path = write_content(write_source(tmp_path), "train", content("train"))
    box = [10, 10, 30, 20]
    assert coco.person_boxes(path, [1, 2, 77]) == {1: ("000001.jpg", [box]), 2: ("000002.jpg", [])}


def test_outlines_and_unknown_keys_do_no_harm(tmp_path: Path) -> None:
    value = with_boxes([0, 0, 30, 20], segmentation={"counts": [1, 2], "size": [3, 4]})
    value |= {"info": {"images": [1]}, "licenses": [{"id": "x"}]}
    assert read(tmp_path, value).photographs[0].box_share == 0.25


def test_by_area_nothing_but_the_area_counts(tmp_path: Path) -> None:
    value = with_boxes([0, 0, 30, 20], area=12.0)
    value["annotations"] += with_boxes([-50, 0, -1, 900], area=24)["annotations"]
    value["annotations"] += with_boxes([0, 0, 9, 9], category=99)["annotations"]
    path = write_content(tmp_path, "train", value)
    (found,) = coco.read_instances(path, "area").photographs
    assert (found.persons, found.area_share) == (2, 0.01)
    assert np.isnan(found.box_share)
    assert [skip.reason for skip in coco.read_instances(path, "box").skips] == ["unknown category"]


def test_by_area_a_person_without_is_refused(tmp_path: Path) -> None:
    value = with_boxes([0, 0, 30, 20], area=12)
    value["annotations"] += with_boxes([0, 0, 30, 20], category=2)["annotations"]
    value["annotations"] += with_boxes([0, 0, 30, 20], iscrowd=1)["annotations"]
    path = write_content(tmp_path, "train", value)
    with pytest.raises(
        ValueError, match=r"annotations\[2\], of image 7, is a person without `area`.* vww_box needs none"
    ):
        coco.read_instances(path, "area")
    assert coco.read_instances(path, "area", crowds=False).photographs[0].area_share == 12 / 2400
    assert np.isnan(coco.read_instances(path, "box").photographs[0].area_share)


def test_small_excess_is_clipped(tmp_path: Path) -> None:
    assert share(tmp_path, [-2, -1, 32, 41]) == 0.5
    assert share(tmp_path, [0, 0, WIDTH + 2, HEIGHT + 2]) == 1
    assert share(tmp_path, [WIDTH + 1, 0, 1, HEIGHT]) == 0


@pytest.mark.parametrize(
    "box",
    [
        [-2.1, 0, 10, 10],
        [0, 0, WIDTH + 2.1, 10],
        [0, 35, 10, 7.1],
        [10, 10, -5, 10],
        [10, 10, 5, -1],
        [float("nan"), 0, 5, 5],
        [0, 0, float("nan"), 5],
        [0, 0, float("inf"), 5],
        [float("-inf"), 0, float("inf"), 5],
    ],
)
def test_impossible_person_box_skips_the_image(tmp_path: Path, box: list[float]) -> None:
    found = read(tmp_path, with_boxes([0, 0, 30, 20], box))
    assert not found.photographs
    assert [(skip.id, skip.file_name, skip.reason) for skip in found.skips] == [(7, "7.jpg", "bad box")]
    assert "60 x 40" in found.skips[0].detail


def test_impossible_box_of_another_category_does_no_harm(tmp_path: Path) -> None:
    assert len(read(tmp_path, with_boxes([-50, 0, 10, 10], category=2)).photographs) == 1


def test_unknown_category_skips_the_image(tmp_path: Path) -> None:
    found = read(tmp_path, with_boxes([0, 0, 30, 20], category=99))
    assert [(skip.reason, skip.detail) for skip in found.skips] == [
        ("unknown category", "category_id 99 is not listed")
    ]


def test_annotations_of_unlisted_images_are_counted(tmp_path: Path) -> None:
    value = content("val")
    value["annotations"] += [{"image_id": 5, "category_id": 1, "bbox": [0, 0, 9, 9]}] * 3
    value["annotations"] += [{"image_id": 10**12, "category_id": 77, "bbox": [0, 0, 9, 9]}]
    found = read(tmp_path, value)
    assert found.stray_annotations == 4
    assert len(found.photographs) == 6


@given(hnp.arrays(np.float64, (5, 4), elements=st.floats(-70, 70, width=32)))
def test_clipped_area_is_that_of_a_pixel_count(boxes: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    boxes = np.round(boxes)
    areas, usable = coco._clipped_areas(boxes, np.full((5, 2), (WIDTH, HEIGHT), dtype=np.float64))
    for (x, y, width, height), area, fits in zip(boxes, areas, usable, strict=True):
        inside = x >= -2 and x + width <= WIDTH + 2 and y >= -2 and y + height <= HEIGHT + 2
        assert fits == (inside and width >= 0 and height >= 0)
        if fits:
            columns = sum(x <= column < x + width for column in range(WIDTH))
            assert area == columns * sum(y <= row < y + height for row in range(HEIGHT))


def changed(part: str, **entries: object) -> dict[str, Any]:
    value = content("val")
    value[part][1] |= entries
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (content("val") | {"images": []}, "at least one image"),
        (changed("images", id=1006), r"images\[\].id must differ, but 1 repeat, e.g. 1006"),
        (changed("images", file_name="001006.jpg"), r"images\[\].file_name must differ.*001006.jpg"),
        (changed("categories", id=1), r"categories\[\].id must differ"),
        (changed("categories", name="person"), 'exactly one category must be named "person", 2 are'),
        (content("val") | {"categories": [{"id": 1, "name": "dog"}]}, r"0 are \(names: dog\)"),
        (content("val") | {"categories": []}, "0 are"),
    ],
)
def test_malformed_content_is_one_line_that_names_file_and_place(tmp_path: Path, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path, value)
    assert str(error.value).startswith(str(tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("at_the_end_of_the_stack")
@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"{'a': 1}"])
def test_what_is_not_json(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "instances_train.json"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=r"instances_train.json: not valid JSON"):
        coco.read_instances(path, "box")


def test_missing_instances_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"x.json: no such file"):
        coco.read_instances(tmp_path / "x.json", "box")


def test_json_constants_are_read_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(with_boxes([float("nan")] * 4)))
    assert coco.read_instances(tmp_path / "x.json", "box").skips[0].reason == "bad box"
