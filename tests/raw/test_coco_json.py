import io
import json
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
    assert found["annotations"][0].keys() == {"image_id", "category_id", "bbox", "iscrowd"}
    assert [image["id"] for image in found["images"]] == [image["id"] for image in value["images"]]


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
