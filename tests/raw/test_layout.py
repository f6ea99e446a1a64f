from pathlib import Path

import pytest

from earlyexit.raw import layout, zips
from earlyexit.sources import coco_folder
from tests.coco_source import jpeg, write_source


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
