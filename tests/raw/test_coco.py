import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from earlyexit.raw import coco, layout, zips
from earlyexit.sources import coco_folder
from tests.coco_source import content, files, jpeg, write_content, write_source

WIDTH, HEIGHT = 60, 40


def read(folder: Path, value: object) -> coco.Instances:
    (folder / "annotations").mkdir(exist_ok=True)
    return coco.read_instances(write_content(folder, "train", value))


def with_boxes(*boxes: list[float], category: int = 1, **more: object) -> dict[str, Any]:
    value = content("val")
    value["images"] = [{"id": 7, "file_name": "7.jpg", "width": WIDTH, "height": HEIGHT}]
    value["annotations"] = [{"image_id": 7, "category_id": category, "bbox": box, **more} for box in boxes]
    return value


def share(folder: Path, *boxes: list[float], **more: Any) -> float:
    return read(folder, with_boxes(*boxes, **more)).photographs[0].person_share


def test_photographs_come_in_order_of_id_with_their_largest_person(tmp_path: Path) -> None:
    found = read(tmp_path, content("train"))
    assert [photograph.id for photograph in found.photographs] == list(range(1, 25))
    assert found.photographs[2] == coco.Photograph(3, "000003.jpg", WIDTH, HEIGHT, 1, 600 / 2400)
    assert found.photographs[3].person_share == 0
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
    found = coco.read_instances(tmp_path / "annotations" / "instances_train.json", crowds=False).photographs[0]
    assert (found.persons, found.person_share) == (2, 24 / 2400)


def test_person_boxes(tmp_path: Path) -> None:
    path = write_content(write_source(tmp_path), "train", content("train"))
    box = [10, 10, 30, 20]
    assert coco.person_boxes(path, [1, 2, 77]) == {1: ("000001.jpg", [box]), 2: ("000002.jpg", [])}


def test_outlines_and_unknown_keys_do_no_harm(tmp_path: Path) -> None:
    value = with_boxes([0, 0, 30, 20], segmentation={"counts": [1, 2], "size": [3, 4]})
    value |= {"info": {"images": [1]}, "licenses": [{"id": "x"}]}
    assert read(tmp_path, value).photographs[0].person_share == 0.25


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


def without(key: str) -> dict[str, Any]:
    value = content("val")
    del value[key]
    return value


def changed(part: str, **entries: object) -> dict[str, Any]:
    value = content("val")
    value[part][1] |= entries
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "not valid JSON .*{ expected at character 0"),
        ({}, "images is missing"),
        (without("annotations"), "annotations is missing"),
        (without("categories"), "categories is missing"),
        (content("val") | {"images": {}}, "images: .*list"),
        (content("val") | {"images": []}, "at least one image"),
        (changed("images", id="1"), r"images\[1\].id: .*integer.*'1'"),
        (changed("images", id=1.5), r"images\[1\].id: .*integer"),
        (changed("images", id=True), r"images\[1\].id: .*integer"),
        (changed("images", id=-1), r"images\[1\].id: .*greater"),
        (changed("images", id=2**63), r"images\[1\].id: .*less"),
        (changed("images", width=0), r"images\[1\].width: .*greater"),
        (changed("images", height=None), r"images\[1\].height: .*integer"),
        (changed("images", file_name=""), r"images\[1\].file_name: must be a path below"),
        (changed("images", file_name="/etc/passwd"), "must be a path below"),
        (changed("images", file_name="../x.jpg"), "must be a path below"),
        (changed("images", file_name="a\\b.jpg"), "must be a path below"),
        (changed("images", id=1006), r"images\[\].id must differ, but 1 repeat, e.g. 1006"),
        (changed("images", file_name="001006.jpg"), r"images\[\].file_name must differ.*001006.jpg"),
        (changed("annotations", bbox=[1, 2, 3]), r"annotations\[1\].bbox: .*at least 4"),
        (changed("annotations", bbox=[1, 2, 3, 4, 5]), r"annotations\[1\].bbox: .*at most 4"),
        (changed("annotations", bbox=[1, 2, 3, "4"]), r"annotations\[1\].bbox\[3\]: .*number"),
        (changed("annotations", bbox=None), r"annotations\[1\].bbox: .*list"),
        (changed("annotations", bbox=[1, 2, 3, 10**400]), r"annotations\[1\].bbox\[3\]: "),
        (changed("annotations", iscrowd=2), r"annotations\[1\].iscrowd: .*0"),
        (changed("annotations", image_id=None), r"annotations\[1\].image_id: .*integer"),
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
        coco.read_instances(path)


def test_missing_instances_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"x.json: no such file"):
        coco.read_instances(tmp_path / "x.json")


def test_folder_is_stored_byte_for_byte(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    (source / "images" / "train" / "unlisted.jpg").write_bytes(b"not listed")
    raw = tmp_path / "raw"
    raw.mkdir()
    assert coco_folder.store_folder(source, raw) == {"train": (24, 24), "val": (6, 6)}
    assert [name for name, _ in files(raw)] == [
        "annotations/instances_train.json",
        "annotations/instances_val.json",
        "images/train.zip",
        "images/val.zip",
    ]
    path = layout.annotations_path(raw, "val")
    assert path.read_bytes() == layout.annotations_path(source, "val").read_bytes()
    with zipfile.ZipFile(layout.archive_path(raw, "train")) as archive:
        assert archive.namelist() == [f"train/{i:06d}.jpg" for i in range(1, 25)]
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.read("train/000009.jpg") == jpeg(9)


def stored_raw(tmp_path: Path) -> Path:
    raw = tmp_path / "raw"
    raw.mkdir()
    coco_folder.store_folder(write_source(tmp_path / "source"), raw)
    return raw


def test_stored_photographs_by_split(tmp_path: Path) -> None:
    raw = stored_raw(tmp_path)
    (raw / "images" / "stray.zip").write_bytes(b"not looked at")
    found = layout.stored(raw)
    assert list(found) == ["train", "val"]
    assert sorted(found["train"]) == [f"{i:06d}.jpg" for i in range(1, 25)]
    assert zips.read(found["val"]["001003.jpg"]) == jpeg(1003)


def test_other_zips_hold_the_photographs_of_both_splits(tmp_path: Path) -> None:
    raw = stored_raw(tmp_path)
    layout.archive_path(raw, "train").rename(raw / "images" / "train2014.zip")
    layout.archive_path(raw, "val").rename(raw / "images" / "val2014.zip")
    found = layout.stored(raw)
    assert found["train"] == found["val"]
    assert len(found["val"]) == 30
    assert zips.read(found["train"]["val/001003.jpg"]) == jpeg(1003)
    assert found["train"]["train/000001.jpg"].path.name == "train2014.zip"


def test_two_zips_with_the_same_name_inside(tmp_path: Path) -> None:
    raw = stored_raw(tmp_path)
    layout.archive_path(raw, "val").unlink()
    layout.archive_path(raw, "train").rename(raw / "images" / "a.zip")
    (raw / "images" / "b.zip").write_bytes((raw / "images" / "a.zip").read_bytes())
    with pytest.raises(ValueError, match=r"b.zip: holds train/0000\d\d.jpg, which .*a.zip holds too"):
        layout.stored(raw)


def test_no_zip_at_all(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"images/train.zip: no such file; the download stage writes it"):
        layout.stored(tmp_path)


def test_storing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        coco_folder.store_folder(source, tmp_path / name)
        for file in (source / "images").rglob("*.jpg"):
            file.touch()
    assert list(files(tmp_path / "one")) == list(files(tmp_path / "two"))


def test_missing_photographs_are_left_to_the_reader_unless_all_are(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    raw = tmp_path / "raw"
    raw.mkdir()
    photographs = sorted((source / "images" / "val").iterdir())
    photographs[0].unlink()
    assert coco_folder.store_folder(source, raw)["val"] == (5, 6)
    for photograph in photographs[1:]:
        photograph.unlink()
    (tmp_path / "again").mkdir()
    with pytest.raises(FileNotFoundError, match=r"images/val: none of its 6 listed photographs is there, e.g. 00100"):
        coco_folder.store_folder(source, tmp_path / "again")


def test_incomplete_layout_lists_what_is_missing(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    (source / "annotations" / "instances_val.json").unlink()
    for photograph in (source / "images" / "train").iterdir():
        photograph.unlink()
    (source / "images" / "train").rmdir()
    with pytest.raises(FileNotFoundError, match=r"lacks images/train, annotations/instances_val.json; .* holds"):
        coco_folder.store_folder(source, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such folder"):
        coco_folder.store_folder(tmp_path / "nowhere", tmp_path)


def test_json_constants_are_read_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(with_boxes([float("nan")] * 4)))
    assert coco.read_instances(tmp_path / "x.json").skips[0].reason == "bad box"
