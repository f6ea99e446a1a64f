import io
import json
import math
from typing import Any

import pytest

from earlyexit.raw import coco_json
from tests.coco_source import content


def read(value: Any) -> dict[str, list[Any]]:
    text = value if isinstance(value, str) else json.dumps(value)
    return {key: list(items) for key, items in coco_json.parts("x.json", io.StringIO(text))}


def test_parts_come_in_the_order_of_the_file_with_what_a_label_needs() -> None:
    value = {"info": {"year": 2014}} | content("val")
    value["annotations"][0] |= {"segmentation": [[1, 2, 3]], "area": 7}
    found = read(value)
    assert list(found) == ["images", "annotations", "categories"]
    assert found["annotations"][0].keys() == {"image_id", "category_id", "bbox", "area", "iscrowd"}
    assert [image["id"] for image in found["images"]] == [image["id"] for image in value["images"]]


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
        ("", "x.json: not valid JSON"),
        ("[]", "x.json: not valid JSON"),
        ('{"images": [{"id": 1', "x.json: not valid JSON"),
        ({}, "x.json: images is missing"),
        (content("val") | {"annotations": 3}, "x.json: annotations: must be a list"),
        (content("val") | {"categories": [{"id": -1, "name": "person"}]}, r"x.json: categories\[0\].id: .*got '-1'"),
        (content("val") | {"categories": [{"id": 1}]}, r"x.json: categories\[0\].name is missing"),
        (without("annotations"), "annotations is missing"),
        (without("categories"), "categories is missing"),
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
        (changed("annotations", bbox=[1, 2, 3]), r"annotations\[1\].bbox: .*at least 4"),
        (changed("annotations", bbox=[1, 2, 3, 4, 5]), r"annotations\[1\].bbox: .*at most 4"),
        (changed("annotations", bbox=[1, 2, 3, "4"]), r"annotations\[1\].bbox\[3\]: .*number"),
        (changed("annotations", area="4"), r"annotations\[1\].area: .*number"),
        (changed("annotations", area=math.nan), r"annotations\[1\].area: .*finite"),
        (changed("annotations", bbox=None), r"annotations\[1\].bbox: .*list"),
        (changed("annotations", bbox=[1, 2, 3, 10**400]), r"annotations\[1\].bbox\[3\]: "),
        (changed("annotations", iscrowd=2), r"annotations\[1\].iscrowd: .*0"),
        (changed("annotations", image_id=None), r"annotations\[1\].image_id: .*integer"),
        (content("val") | {"images": [7]}, r"x.json: images\[0\]: .*got '7'"),
    ],
)
def test_what_is_no_instances_file_is_one_line(value: Any, message: str) -> None:
    with pytest.raises(coco_json.ContentError, match=message) as error:
        read(value)
    assert "\n" not in str(error.value)


def test_elements_before_a_damage_are_given() -> None:
    text = json.dumps(content("val"))
    _, items = next(coco_json.parts("x.json", io.StringIO(text[:200])))
    assert next(items)["id"] == content("val")["images"][0]["id"]
    with pytest.raises(coco_json.ContentError, match="not valid JSON"):
        list(items)
