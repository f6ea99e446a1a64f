import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from earlyexit.packing.labels import LabelRule, Rule, differing
from earlyexit.raw import coco
from earlyexit.raw.coco import Photograph
from tests.coco_source import write_content

VWW, VWW_BOX, MLPERF = LabelRule("vww", 0.005), LabelRule("vww_box", 0.005), LabelRule("mlperf", 0.025)
WIDTH, HEIGHT = 64, 50

_annotations = st.lists(
    st.fixed_dictionaries(
        {
            "image_id": st.integers(1, 4),
            "category_id": st.integers(1, 3),
            "bbox": st.lists(st.sampled_from([-9.0, 0, 0.5, 4, 5, 30, 70]), min_size=4, max_size=4),
            "area": st.one_of(st.sampled_from([0, 15, 16, 16.0, 17]), st.floats(0, 40)),
            "iscrowd": st.sampled_from([0, 1]),
        }
    ),
    max_size=12,
)


def photograph(area: float, box: float, persons: int = 1) -> Photograph:
    return Photograph(1, "1.jpg", WIDTH, HEIGHT, persons, area, box)


def official(content: dict[str, Any]) -> dict[int, int]:
    """Return the labels by TensorFlow's script: an annotation is small if its share of the area is below 0.005."""
    labels = dict.fromkeys((image["id"] for image in content["images"]), 0)
    for annotation in content["annotations"]:
        if annotation["category_id"] == 1 and not annotation["area"] / (HEIGHT * WIDTH) < 0.005:
            labels[annotation["image_id"]] = 1
    return labels


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_annotations)
def test_vww_is_the_rule_of_the_official_script(tmp_path: Path, annotations: list[dict[str, Any]]) -> None:
    """Also with crowds, several persons, areas of 0 and on the border, and boxes that leave the image."""
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": WIDTH, "height": HEIGHT} for i in range(1, 5)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}],
    }
    found = coco.read_instances(write_content(tmp_path, "train", content), VWW.measure, crowds=VWW.crowds)
    assert not found.skips
    assert {p.id: VWW.label(p) for p in found.photographs} == official(content)


@pytest.mark.parametrize(
    ("rule", "below", "on", "above"), [(VWW, 0, 1, 1), (VWW_BOX, 0, 0, 1)], ids=lambda value: getattr(value, "rule", "")
)
def test_the_border(rule: LabelRule, below: int, on: int, above: int) -> None:
    shares = (0.00499, 0.005, 0.00501)
    assert [rule.label(photograph(share, share)) for share in shares] == [below, on, above]


def test_each_rule_measures_its_own_share() -> None:
    thin = photograph(area=0.003, box=0.03)
    assert [rule.label(thin) for rule in (VWW, VWW_BOX, MLPERF)] == [0, 1, 1]
    assert [rule.share(thin) for rule in (VWW, VWW_BOX, MLPERF)] == [0.003, 0.03, 0.03]


@pytest.mark.parametrize(("rule", "dropped"), [("vww", False), ("vww_box", False), ("mlperf", True)])
def test_only_mlperf_drops_images_of_small_persons(rule: Rule, dropped: bool) -> None:
    assert LabelRule(rule, 0.005).drops(photograph(0.001, 0.002)) is dropped
    assert not LabelRule(rule, 0.005).drops(photograph(0, 0, persons=0))


def test_differing_counts_where_both_rules_can_be_asked() -> None:
    photographs = [
        photograph(0.004, 0.01),  # differ
        photograph(0.006, 0.01),
        photograph(0.005, 0.005),  # differ
        photograph(0, 0, persons=0),
        photograph(math.nan, 0.01),
        photograph(0.004, math.nan),
    ]
    assert differing(photographs, VWW, VWW_BOX) == {"images": 4, "differ": 2}
    assert differing(photographs, VWW, VWW) == {"images": 5, "differ": 0}


@pytest.mark.parametrize("rule", [VWW, VWW_BOX, MLPERF], ids=lambda rule: rule.rule)
def test_the_definition_names_the_share(rule: LabelRule) -> None:
    assert f"{rule.area:g}" in rule.definition
    assert rule.definition.startswith("1 (person) if ")
