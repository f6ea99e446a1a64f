import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from earlyexit.packing.decode import decode
from earlyexit.packing.labels import LabelRule
from earlyexit.shift import camera
from tests import ROOT
from tests.coco_source import content as instances
from tests.coco_source import write_content, write_source

RULE = LabelRule("vww", 0.1)
FLICKR = ROOT.parent / "shared" / "photos_flickr8k"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in COCO layout without its train split."""
    source = write_source(tmp_path / "camera")
    (source / "annotations" / "instances_train.json").unlink()
    shutil.rmtree(source / "images" / "train")
    return source


def test_the_val_split_is_read_without_a_train_split(folder: Path) -> None:
    found = camera.read(folder, RULE, 16)
    assert found.images.shape == (6, 16, 16, 3)
    assert found.images.dtype == np.uint8
    assert found.ids.tolist() == sorted(found.ids.tolist())
    assert found.labels.tolist() == (found.ids % 2).tolist()
    for image, id_ in zip(found.images, found.ids, strict=True):
        content = (folder / "images" / "val" / f"{id_:06d}.jpg").read_bytes()
        np.testing.assert_array_equal(image, decode(content, 60, 40, 16))


def test_images_that_the_rule_drops_are_left_out(folder: Path) -> None:
    value = instances("val")
    small = next(one for one in value["annotations"] if one["category_id"] == 1)
    small["bbox"] = [0, 0, 2, 2]
    write_content(folder, "val", value)
    assert small["image_id"] not in camera.read(folder, LabelRule("mlperf", 0.1), 16).ids


def _no_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def _no_instances(folder: Path) -> None:
    (folder / "annotations" / "instances_val.json").unlink()


def _no_photographs(folder: Path) -> None:
    shutil.rmtree(folder / "images")


def _no_person(folder: Path) -> None:
    write_content(folder, "val", {**instances("val"), "annotations": []})


def _no_json(folder: Path) -> None:
    (folder / "annotations" / "instances_val.json").write_text("{")


def _damaged(folder: Path) -> None:
    next((folder / "images" / "val").iterdir()).write_bytes(b"no photograph")


def _bad_box(folder: Path) -> None:
    value = instances("val")
    value["annotations"][1]["bbox"] = [0, 0, 600, 20]
    write_content(folder, "val", value)


@pytest.mark.parametrize(
    ("damage", "rule", "message"),
    [
        (_no_folder, "vww", r"shift.folder: .*camera: no such folder; it must hold"),
        (_no_instances, "vww", r"instances_val.json: no such file"),
        (_no_photographs, "vww", r"shift.folder: .*\.jpg: no such file; 6 of 6 listed photographs are missing"),
        (_no_person, "vww", r"shift.folder: .*camera: the val split needs images with and without a person"),
        (_no_json, "vww", r"instances_val.json"),
        (_damaged, "vww", r"shift.folder: .*\.jpg: neither JPEG"),
        (_bad_box, "vww_box", r"shift.folder: .*: 1 photographs cannot be used, e.g. .*: bad box"),
    ],
)
def test_what_cannot_be_used_is_one_line(folder: Path, damage: Callable[[Path], None], rule: str, message: str) -> None:
    damage(folder)
    with pytest.raises((FileNotFoundError, ValueError), match=message) as error:
        camera.read(folder, LabelRule(rule, 0.1), 16)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not FLICKR.is_dir(), reason="no photographs here")
def test_photographs_of_another_camera() -> None:
    listed = json.loads((FLICKR / "annotations" / "instances_val.json").read_text())
    found = camera.read(FLICKR, LabelRule("vww", 0.005), 32)
    assert len(found) == len(listed["images"])
    persons = {one["image_id"] for one in listed["annotations"]}
    assert found.labels.tolist() == [int(id_ in persons) for id_ in found.ids]
