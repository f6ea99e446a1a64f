import json
import os
import resource
import shutil
import signal
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from earlyexit.dataset import open_split
from earlyexit.packing import pack as module
from earlyexit.packing.decode import decode
from earlyexit.packing.pack import _drop_rows, pack
from earlyexit.raw import layout
from earlyexit.sources import coco_folder
from earlyexit.task import SPLITS, in_calibration
from tests.coco_source import content, encoded, files, jpeg, write_content, write_source

R = 16


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("stored")
    (base / "raw").mkdir()
    coco_folder.store_folder(write_source(base / "source"), base / "raw")
    return base / "raw"


@pytest.fixture(scope="module")
def packed(stored: Path) -> Path:
    run(stored, stored.parent / "packed")
    return stored.parent / "packed"


@pytest.fixture
def raw(stored: Path, tmp_path: Path) -> Path:
    """A copy of the raw layout that a test may damage."""
    for name, data in files(stored):
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / name).write_bytes(data)
    return tmp_path / "raw"


def run(raw: Path, folder: Path, *, area: float = 0.005, **more: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"source": "here", "resolution": R, "rule": "vww_box", "workers": 1, "max_skipped": 0}
    areas = dict.fromkeys(("vww", "vww_box", "mlperf"), area)
    return pack(raw, folder, **(values | {"min_person_area": areas, "calibration_share": 0.3} | more))


def rewrite(raw: Path, split: str, change: Callable[[dict[str, bytes]], object]) -> None:
    """Replace the zip of a split by one whose photographs `change` has edited."""
    path = layout.archive_path(raw, split)
    with zipfile.ZipFile(path) as archive:
        photographs = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    change(photographs)
    layout.write_photographs(path, photographs.items())


def test_arrays_hold_the_decoded_photographs_in_order_of_id(packed: Path) -> None:
    calibration = [i for i in range(1, 25) if in_calibration(i, 0.3)]
    expected = {
        "train": [i for i in range(1, 25) if i not in calibration],
        "calibration": calibration,
        "val": list(range(1001, 1007)),
    }
    for split, ids in expected.items():
        found = open_split(packed, split)
        assert found.ids.tolist() == ids
        assert found.labels.tolist() == [i % 2 for i in ids]
        np.testing.assert_array_equal(found.images, np.stack([decode(jpeg(i), 60, 40, R) for i in ids]))


def test_open_split_reads_no_pixels_and_protects_them(packed: Path) -> None:
    split = open_split(packed, "train")
    assert isinstance(split.images, np.memmap)
    assert not split.images.flags.writeable
    assert [array.dtype.name for array in (split.images, split.labels, split.ids)] == ["uint8", "int64", "int64"]
    assert len(split) == len(split.images)


def test_index_and_summary(packed: Path) -> None:
    table = pd.read_csv(packed / "index.csv")
    assert list(table.columns) == ["id", "split", "label", "person_share"]
    assert table["split"].drop_duplicates().tolist() == ["train", "calibration", "val"]
    assert table["person_share"].tolist() == [0.25 * label for label in table["label"]]
    summary = json.loads((packed / "summary.json").read_text())
    assert summary["definition"] == "1 (person) if a person box covers more than 0.005 of the image, else 0"
    assert summary["counts"]["val"] == {"images": 6, "no_person": 3, "person": 3, "dropped": 0}
    assert sum(split["images"] for split in summary["counts"].values()) == len(table) == 30
    assert summary["skipped"] == {"count": 0, "listed": 30, "reasons": {}, "photographs": []}
    assert (summary["source"], summary["resolution"], summary["label_rule"]) == ("here", R, "vww_box")
    assert summary["warnings"] == []
    assert summary["vww_and_vww_box"]["val"] == {"images": 6, "differ": 0}
    assert json.loads((packed / "counts.json").read_text()) == summary["counts"] | {
        "vww_and_vww_box": summary["vww_and_vww_box"],
        "skipped": {"count": 0, "listed": 30, "reasons": {}},
        "stray_annotations": {"train": 0, "val": 0},
    }


@pytest.mark.parametrize("workers", [2, 3])
def test_result_does_not_depend_on_the_workers(raw: Path, tmp_path: Path, workers: int) -> None:
    rewrite(raw, "train", lambda photographs: photographs.update({"000004.jpg": b"", "000005.jpg": jpeg(5)[:-9]}))
    run(raw, tmp_path / "one", max_skipped=1)
    run(raw, tmp_path / "more", max_skipped=1, workers=workers)
    assert list(files(tmp_path / "more")) == list(files(tmp_path / "one"))


def test_photographs_of_a_split_in_several_zips(stored: Path, raw: Path, packed: Path, tmp_path: Path) -> None:
    """COCO 2014 as it is split for Visual Wake Words: either split has photographs of either zip."""
    for split in ("train", "val"):
        value = content(split)
        for image in value["images"]:
            image["file_name"] = f"{'a' if image['id'] % 3 else 'b'}/{image['file_name']}"
        write_content(raw, split, value)
    photographs: dict[str, bytes] = {}
    for split in ("train", "val"):
        with zipfile.ZipFile(layout.archive_path(raw, split)) as archive:
            photographs |= {Path(name).name: archive.read(name) for name in archive.namelist()}
        layout.archive_path(raw, split).unlink()
    for part in ("a", "b"):
        chosen = {name: data for name, data in photographs.items() if (int(name[:6]) % 3 > 0) == (part == "a")}
        layout.write_photographs(layout.archive_path(raw, part), chosen.items())
    run(raw, tmp_path / "packed")
    assert list(files(tmp_path / "packed")) == list(files(packed))


def test_a_photograph_of_val_is_not_trained_on_wherever_it_lies(raw: Path, tmp_path: Path) -> None:
    """Only photographs that val lists are held out: both splits may share a zip."""
    photographs = [
        *((f"{i:06d}.jpg", jpeg(i)) for i in range(1, 25)),
        *((f"00{i}.jpg", jpeg(i)) for i in range(1001, 1007)),
    ]
    photographs[4] = ("000005.jpg", jpeg(1003))
    for split in ("train", "val"):
        layout.archive_path(raw, split).unlink()
        value = content(split)
        for image in value["images"]:
            image["file_name"] = f"all/{image['file_name']}"
        write_content(raw, split, value)
    layout.write_photographs(layout.archive_path(raw, "all"), photographs)
    summary = run(raw, tmp_path / "packed", max_skipped=0.1)
    assert [(skip["id"], skip["reason"]) for skip in summary["skipped"]["photographs"]] == [(5, "also in val")]


def ruled(raw: Path, **boxes: list[tuple[list[float], int]]) -> None:
    """Give train images (i1, i2, ...) these boxes: box and iscrowd."""
    value = content("train")
    owned = {int(name[1:]) for name in boxes}
    value["annotations"] = [entry for entry in value["annotations"] if entry["image_id"] not in owned]
    for name, entries in boxes.items():
        for box, crowd in entries:
            value["annotations"].append(
                {"image_id": int(name[1:]), "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": crowd}
            )
    write_content(raw, "train", value)


SMALL, LARGE = [0.0, 0, 6, 4], [0.0, 0, 30, 20]


def test_label_rules(raw: Path, tmp_path: Path) -> None:
    """By the definitions: vww counts crowds and takes small persons for none; mlperf does neither."""
    ruled(
        raw,
        i1=[(SMALL, 0)],
        i2=[(SMALL, 0), (LARGE, 0)],
        i3=[(LARGE, 1)],
        i4=[(SMALL, 0), (LARGE, 1)],
        i5=[(SMALL, 1)],
        i6=[([5.0, 5, 0, 9], 0)],
    )
    labels = {}
    for rule in ("vww", "vww_box", "mlperf"):
        summary = run(raw, tmp_path / rule, rule=rule, area=0.025)
        table = pd.read_csv(tmp_path / rule / "index.csv")
        found = dict(zip(table["id"], table["label"], strict=True))
        labels[rule] = [found.get(i) for i in range(1, 9)]
        assert sum(counts["dropped"] for counts in summary["counts"].values()) == labels[rule].count(None)
        assert summary["skipped"]["count"] == 0
        assert [len(open_split(tmp_path / rule, split)) for split in SPLITS] == [
            summary["counts"][split]["images"] for split in SPLITS
        ]
    by_area = [0, 1, 1, 1, 0, 0, 1, 0]
    assert labels == {"vww": by_area, "vww_box": by_area, "mlperf": [None, 1, 0, None, 0, None, 1, 0]}
    assert "else dropped; crowds are passed over" in summary["definition"]
    assert (summary["label_rule"], summary["min_person_area"]) == ("mlperf", 0.025)


def test_dropped_photographs_need_not_be_there(raw: Path, tmp_path: Path) -> None:
    ruled(raw, i1=[(SMALL, 0)])
    rewrite(raw, "train", lambda photographs: photographs.pop("000001.jpg"))
    summary = run(raw, tmp_path / "packed", rule="mlperf", area=0.025)
    assert sum(counts["dropped"] for counts in summary["counts"].values()) == 1


def test_label_needs_more_than_the_smallest_area(stored: Path, tmp_path: Path) -> None:
    run(stored, tmp_path / "packed", area=0.2499)
    with pytest.raises(ValueError, match=r"train split needs .* 0 have a person of min_person_area = 0.25"):
        run(stored, tmp_path / "packed", area=0.25)
    assert open_split(tmp_path / "packed", "val").labels.sum() == 3


def test_unusable_photographs_are_left_out_and_reported(raw: Path, packed: Path, tmp_path: Path) -> None:
    value = content("train")
    value["annotations"][0]["category_id"] = 99
    value["annotations"][1]["bbox"] = [0, 0, -1, 5]
    write_content(raw, "train", value)

    def damage(photographs: dict[str, bytes]) -> None:
        del photographs["000003.jpg"]
        photographs["000004.jpg"] = photographs["000004.jpg"][:300]
        photographs["000007.jpg"] = b"not a photograph"
        photographs["000008.jpg"] = jpeg(8, width=40, height=60)
        photographs["000009.jpg"] = jpeg(1001)

    rewrite(raw, "train", damage)
    summary = run(raw, tmp_path / "packed", max_skipped=7 / 30)
    assert summary["skipped"]["reasons"] == {
        "also in val": 1,
        "bad box": 1,
        "damaged": 1,
        "missing": 1,
        "no photograph": 1,
        "other size": 1,
        "unknown category": 1,
    }
    gone = [skip["id"] for skip in summary["skipped"]["photographs"]]
    assert gone == [3, 4, 7, 8, 9, 23, 24]
    for split in ("train", "calibration", "val"):
        found, whole = open_split(tmp_path / "packed", split), open_split(packed, split)
        keep = ~np.isin(whole.ids, gone)
        np.testing.assert_array_equal(found.ids, whole.ids[keep])
        np.testing.assert_array_equal(found.images, whole.images[keep])


def test_too_many_unusable_photographs(raw: Path, tmp_path: Path) -> None:
    rewrite(raw, "train", lambda photographs: [photographs.pop(f"00000{i}.jpg") for i in (3, 4)])
    message = (
        r"^2 or more of 30 photographs cannot be used, max_skipped = 0.04 allows 1. "
        r"The first: train id 3 \(000003.jpg\): missing, .*; train id 4 \(000004.jpg\): missing, .* raise max_skipped"
    )
    with pytest.raises(ValueError, match=message):
        run(raw, tmp_path / "packed", max_skipped=0.04)
    assert not (tmp_path / "packed").exists()


def test_damaged_photographs_count_too_and_nothing_is_left_behind(raw: Path, tmp_path: Path) -> None:
    rewrite(raw, "val", lambda photographs: photographs.update({"001001.jpg": b""}))
    with pytest.raises(
        ValueError, match=r"1 or more of 30 .* val id 1001 \(001001.jpg\): no photograph, the file is empty"
    ):
        run(raw, tmp_path / "packed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


def test_zip_with_a_flipped_bit(raw: Path, tmp_path: Path) -> None:
    path = layout.archive_path(raw, "val")
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"val id 1001 .* damaged in its zip \(Bad CRC-32 for file 'val/001001.jpg'\)"):
        run(raw, tmp_path / "packed")


def bomb() -> bytes:
    """A PNG of 20,000 x 20,000 pixels in 50 kB."""
    return encoded(Image.new("1", (20_000, 20_000)))


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x112] = 6
    return encoded(Image.new("RGB", (40, 60)), "JPEG", exif=exif)


def deep() -> bytes:
    return encoded(Image.fromarray(np.full((40, 60), 40_000, dtype=np.uint16)))


FORMATS = "neither JPEG, PNG, WEBP nor BMP"
UNUSABLE: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "empty": (lambda: b"", "no photograph", "the file is empty"),
    "text": (lambda: b"<html>404</html>", "no photograph", FORMATS),
    "magic alone": (lambda: jpeg(1)[:4], "no photograph", FORMATS),
    "script": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 60 40\n%%EndComments\n", "no photograph", FORMATS),
    "cut": (lambda: jpeg(1)[:-200], "damaged", "OSError: image file is truncated (30 bytes not processed)"),
    "cut in front": (lambda: jpeg(1)[:300], "damaged", "OSError: Truncated File Read"),
    "deep": (deep, "unsupported pixels", "pixels of mode I;16; eight bits a channel are needed"),
    "bomb": (bomb, "too large", "more than 89478485 pixels"),
    "turned": (
        turned,
        "other size",
        "40 x 60, listed as 60 x 40 (boxes must refer to the stored pixels, before EXIF orientation)",
    ),
    "smaller": (lambda: jpeg(1, 30, 20), "other size", "30 x 20, listed as 60 x 40"),
}


@pytest.mark.parametrize(("make", "reason", "detail"), UNUSABLE.values(), ids=UNUSABLE)
def test_reason_of_every_unusable_photograph(
    raw: Path, tmp_path: Path, make: Callable[[], bytes], reason: str, detail: str
) -> None:
    rewrite(raw, "train", lambda photographs: photographs.update({"000002.jpg": make()}))
    summary = run(raw, tmp_path / "packed", max_skipped=0.04)
    place = {"split": "train", "id": 2, "file_name": "000002.jpg"}
    assert summary["skipped"]["photographs"] == [place | {"reason": reason, "detail": detail}]
    assert 2 not in pd.read_csv(tmp_path / "packed" / "index.csv")["id"].tolist()
    with pytest.raises(ValueError, match=rf"1 or more of 30 .* train id 2 \(000002.jpg\): {reason}, "):
        run(raw, tmp_path / "again")


def test_warnings_of_the_decoder_are_listed(raw: Path, packed: Path, tmp_path: Path) -> None:
    damaged_exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0\x12\x01\x03\0\x01\0\0\0\x01\0\0\0"
    content = jpeg(2)
    content = content[:2] + b"\xff\xe1" + struct.pack(">H", len(damaged_exif) + 2) + damaged_exif + content[2:]
    rewrite(raw, "train", lambda photographs: photographs.update({"000002.jpg": content}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        summary = run(raw, tmp_path / "packed")
    ((warning),) = summary["warnings"]
    assert (warning["split"], warning["id"], warning["file_name"]) == ("train", 2, "000002.jpg")
    assert warning["detail"].startswith("Corrupt EXIF data")
    assert (tmp_path / "packed" / "train.npy").read_bytes() == (packed / "train.npy").read_bytes()


def test_unlisted_photographs_do_no_harm(raw: Path, packed: Path, tmp_path: Path) -> None:
    rewrite(raw, "train", lambda photographs: photographs.update({"000099.jpg": b"", "../x": b"", "/x": b"1"}))
    run(raw, tmp_path / "packed")
    assert list(files(tmp_path / "packed")) == list(files(packed))


def test_full_disk_is_known_before_any_work(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = r"^.*: packing needs 0.000 GB of disk space, 0.000 GB are free; a quota or a limit of file sizes may"
    monkeypatch.setattr(module, "decode", lambda *_: pytest.fail("decoded"))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=30 * 3 * R**2 - 1))
        with pytest.raises(OSError, match=message):
            run(raw, tmp_path / "packed")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6 * 3 * R**2, hard))
    try:
        with pytest.raises(OSError, match=r"packing needs 0.000 GB"):
            run(raw, tmp_path / "packed")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


def test_a_killed_worker_ends_in_one_error(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_decode_rows", die)
    with pytest.raises(OSError, match="a worker process was killed"):
        run(raw, tmp_path / "packed", workers=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("split", ["train", "val"])
def test_split_without_persons(raw: Path, tmp_path: Path, split: str) -> None:
    write_content(raw, split, content(split) | {"annotations": []})
    with pytest.raises(ValueError, match=rf"the {split} split needs images with and without a person; of its \d+"):
        run(raw, tmp_path / "packed")


def test_no_image_falls_into_calibration(stored: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the calibration split needs .* of its 0 images"):
        run(stored, tmp_path / "packed", calibration_share=0)


def test_zip_missing_or_cut(raw: Path, tmp_path: Path) -> None:
    path = layout.archive_path(raw, "train")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"train.zip: not a whole zip file"):
        run(raw, tmp_path / "packed")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"train.zip: no such file"):
        run(raw, tmp_path / "packed")


@given(hnp.arrays(np.bool_, st.integers(1, 40)))
def test_dropped_rows(tmp_path_factory: pytest.TempPathFactory, keep: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
    path = tmp_path_factory.mktemp("rows") / "a.npy"
    rows = np.arange(len(keep) * 6, dtype=np.uint8).reshape(-1, 2, 3)
    np.save(path, rows)
    _drop_rows(path, keep)
    np.testing.assert_array_equal(np.load(path), rows[keep])
