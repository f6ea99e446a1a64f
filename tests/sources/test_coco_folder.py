import zipfile
from pathlib import Path

import pytest

from earlyexit.raw import layout
from earlyexit.sources import coco_folder
from tests.coco_source import files, jpeg, write_source


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
