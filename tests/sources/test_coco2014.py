import errno
import json
import os
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from earlyexit.raw import coco, layout
from earlyexit.sources import coco2014
from earlyexit.sources.checksums import read_checksums
from rehearsal import coco2014 as official_layout
from tests.coco_source import files, jpeg

IDS = {"train2014": range(1, 13), "val2014": range(101, 109)}
MINIVAL = (102, 105, 107)
TMP_PATH = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)

Content = dict[str, Any]


def name(part: str, number: int) -> str:
    return f"COCO_{part}_{number:012}.jpg"


def instances(part: str) -> Content:
    """Persons on the odd ids, a dog on every image, and what COCO has beside the needed entries."""
    images = [{"id": i, "file_name": name(part, i), "width": 60, "height": 40, "license": 1} for i in IDS[part]]
    box = {"bbox": [1, 2.5, 30, 20], "area": 600.0, "segmentation": [[1, 2, 3, 4, 5, 6]]}
    persons = [{"id": i, "image_id": i, "category_id": 1, "iscrowd": i % 3 // 2, **box} for i in IDS[part] if i % 2]
    dogs = [{"id": 1000 + i, "image_id": i, "category_id": 18, "iscrowd": 0, **box} for i in IDS[part]]
    categories = [{"id": 18, "name": "dog", "supercategory": "animal"}, {"id": 1, "name": "person"}]
    return {"info": {}, "images": images[::-1], "annotations": dogs + persons, "categories": categories}


def write_zip(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members:
            archive.writestr(zipfile.ZipInfo(member), content)


def write_annotations(folder: Path, contents: dict[str, Any]) -> None:
    members = [(f"annotations/instances_{part}.json", json.dumps(content)) for part, content in contents.items()]
    members.append(("annotations/captions_val2014.json", "no JSON"))
    write_zip(folder / coco2014.ANNOTATIONS, [(member, text.encode()) for member, text in members])


def write_downloads(folder: Path) -> Path:
    folder.mkdir()
    for part, ids in IDS.items():
        photographs = [(f"{part}/{name(part, i)}", jpeg(i)) for i in ids]
        write_zip(folder / f"{part}.zip", [(f"{part}/", b""), *photographs])
    write_annotations(folder, {part: instances(part) for part in IDS})
    (folder / coco2014.MINIVAL).write_text("".join(f"{number}\n" for number in MINIVAL))
    return folder


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    return write_downloads(tmp_path / "downloads")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


def store(downloads: Path, raw: Path, official: bool = False) -> dict[str, tuple[int, int]]:
    return coco2014.store(downloads, raw, official=official)


def stored(raw: Path, split: str) -> Any:
    return json.loads(layout.annotations_path(raw, split).read_text())


def test_val_is_minival_and_train_the_rest(downloads: Path, raw: Path) -> None:
    assert store(downloads, raw) == {"train": (17, 17), "val": (3, 3)}
    assert [name for name, _ in files(raw)] == [
        "annotations/instances_train.json",
        "annotations/instances_val.json",
        "images/train2014.zip",
        "images/val2014.zip",
    ]
    val = coco.read_instances(layout.annotations_path(raw, "val"), "area").photographs
    assert [photograph.file_name for photograph in val] == [f"val2014/{name('val2014', i)}" for i in MINIVAL]
    assert [photograph.area_share for photograph in val] == [0, 0.25, 0.25]
    train = coco.read_instances(layout.annotations_path(raw, "train"), "area")
    assert [photograph.id for photograph in train.photographs] == [*range(1, 13), 101, 103, 104, 106, 108]
    assert {photograph.file_name.partition("/")[0] for photograph in train.photographs} == {"train2014", "val2014"}
    assert [photograph.id for photograph in train.photographs if photograph.area_share] == [
        1,
        3,
        5,
        7,
        9,
        11,
        101,
        103,
    ]
    assert not train.stray_annotations


def test_only_what_is_needed_is_kept(downloads: Path, raw: Path) -> None:
    store(downloads, raw)
    val = stored(raw, "val")
    assert val["images"][0] == {"id": 102, "file_name": f"val2014/{name('val2014', 102)}", "width": 60, "height": 40}
    assert val["annotations"][0] == {
        "image_id": 105,
        "category_id": 1,
        "bbox": [1, 2.5, 30, 20],
        "area": 600.0,
        "iscrowd": 0,
    }
    assert val["categories"] == [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}]
    assert {item["category_id"] for item in stored(raw, "train")["annotations"]} == {1}
    assert [item["iscrowd"] for item in stored(raw, "train")["annotations"]][:3] == [0, 0, 1]


def test_an_annotation_of_an_unlisted_category_is_kept_for_it_makes_the_image_unusable(
    downloads: Path, raw: Path
) -> None:
    contents = {part: instances(part) for part in IDS}
    contents["val2014"]["annotations"][1]["category_id"] = 77
    write_annotations(downloads, contents)
    store(downloads, raw)
    assert [skip.reason for skip in coco.read_instances(layout.annotations_path(raw, "val"), "box").skips] == [
        "unknown category"
    ]


@given(st.data())
@settings(deadline=None, max_examples=50)
def test_the_split_is_a_partition(data: st.DataObject) -> None:
    ids = st.lists(st.integers(0, 60), min_size=2, max_size=40, unique=True)
    train, val = data.draw(ids.map(lambda found: (found[::2], found[1::2])))
    minival = set(data.draw(st.lists(st.sampled_from(val))))
    parts: Any = {
        part: {
            "images": [{"id": i, "file_name": f"{i}.jpg", "width": 1, "height": 1} for i in numbers],
            "annotations": [{"image_id": i, "category_id": 1, "bbox": [0, 0, 1, 1]} for i in numbers],
            "categories": [],
        }
        for part, numbers in (("train2014", train), ("val2014", val))
    }
    splits = coco2014._split(parts, minival)
    for key, entry in (("images", "id"), ("annotations", "image_id")):
        found: Any = {split: [item[entry] for item in content[key]] for split, content in splits.items()}  # type: ignore[literal-required]
        assert found == {"train": sorted({*train, *val} - minival), "val": sorted(minival)}


def test_archives_are_linked_and_copied_where_that_fails(
    downloads: Path, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(downloads, raw)
    for part in IDS:
        assert (raw / "images" / f"{part}.zip").samefile(downloads / f"{part}.zip")

    def no_link(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_link)
    (tmp_path / "copied").mkdir()
    store(downloads, tmp_path / "copied")
    assert not (tmp_path / "copied/images/val2014.zip").samefile(downloads / "val2014.zip")
    assert list(files(tmp_path / "copied")) == list(files(raw))


def test_an_archive_may_be_a_relative_link(downloads: Path, raw: Path) -> None:
    (downloads / "disk").mkdir()
    (downloads / "train2014.zip").rename(downloads / "disk/archive.zip")
    (downloads / "train2014.zip").symlink_to("disk/archive.zip")
    store(downloads, raw)
    assert (raw / "images/train2014.zip").samefile(downloads / "disk/archive.zip")


def test_counts_are_checked_where_official(downloads: Path, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"mscoco_minival_ids.txt: 3 image ids; minival has 8059"):
        store(downloads, raw, official=True)
    monkeypatch.setattr(coco2014, "MINIVAL_IDS", 3)
    with pytest.raises(
        ValueError, match=r"annotations_trainval2014.zip: instances_train2014.json lists 12 images; train2014 has 82783"
    ):
        store(downloads, raw, official=True)
    monkeypatch.setattr(coco2014, "IMAGES", {"train2014": 12, "val2014": 8})
    assert store(downloads, raw, official=True) == {"train": (17, 17), "val": (3, 3)}
    write_zip(downloads / "val2014.zip", [("val2014/x.jpg", b"")])
    with pytest.raises(ValueError, match=r"val2014.zip: .*1 photographs val2014/\*.jpg; there should be 8"):
        store(downloads, raw, official=True)


def test_missing_photographs_are_counted_unless_all_are(downloads: Path, raw: Path, tmp_path: Path) -> None:
    kept = [(f"val2014/{name('val2014', i)}", jpeg(i)) for i in (101, 102)]
    write_zip(downloads / "val2014.zip", kept)
    assert store(downloads, raw) == {"train": (13, 17), "val": (1, 3)}
    write_zip(downloads / "val2014.zip", kept[:1])
    (tmp_path / "again").mkdir()
    with pytest.raises(ValueError, match=r"downloads: .* hold none of the 3 photographs of val, e.g. val2014/COCO_val"):
        store(downloads, tmp_path / "again")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "0 image ids; some needed"),
        (b"102\n\n105 \r\n999\n", "1 of its 3 ids are not in val2014, e.g. 999"),
        (b"102\n1\n", "1 of its 2 ids are not in val2014, e.g. 1"),
        (b"102\n105\n102\n", "line 3 repeats 102"),
        (b"<!DOCTYPE html>\n", "line 1 is '<!DOCTYPE html>'; an image id, such as 42, is expected on each line"),
        (b"102\n1_0\n", "line 2 is '1_0'"),
        (b"102 105\n", "line 1 is '102 105'"),
        (b"-102\n", "line 1 is '-102'"),
        ("١٠٢\n".encode(), "line 1 is '١٠٢'"),
        (b"9" * 5000, "line 1 is '9{40}'"),
    ],
)
def test_wrong_minival(downloads: Path, raw: Path, text: bytes, message: str) -> None:
    (downloads / coco2014.MINIVAL).write_bytes(text)
    with pytest.raises(ValueError, match=message) as error:
        store(downloads, raw)
    assert str(error.value).startswith(str(downloads / coco2014.MINIVAL))
    assert not list(files(raw))


@given(st.binary(max_size=60) | st.text("0123456789 \r\n\tx", max_size=60).map(str.encode))
@TMP_PATH
def test_any_minival_is_read_as_its_lines_say_or_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "ids.txt"
    path.write_bytes(text)
    try:
        found = coco2014._read_minival(path, official=False)
    except ValueError:
        return
    assert found == {int(line) for line in text.splitlines() if line.strip()}


def changed(change: Callable[[Content], object], part: str = "val2014") -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        contents = {part: instances(part) for part in IDS}
        change(contents[part])
        write_annotations(folder, contents)

    return write


def with_json(text: bytes) -> Callable[[Path], None]:
    member = "annotations/instances_train2014.json"
    return lambda folder: write_zip(folder / coco2014.ANNOTATIONS, [(member, text)])


def truncated(archive: str) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / archive, (folder / archive).stat().st_size // 2)


def garbled(folder: Path) -> None:
    """Damage the first JSON inside the archive; the directory stays whole."""
    path = folder / coco2014.ANNOTATIONS
    content = bytearray(path.read_bytes())
    content[100:140] = bytes(40)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated("train2014.zip"), "train2014.zip: not the zip file expected .*not a zip file"),
        (truncated("val2014.zip"), "val2014.zip: not the zip file expected"),
        (truncated(coco2014.ANNOTATIONS), "annotations_trainval2014.zip: not the zip file expected"),
        (garbled, "annotations_trainval2014.zip: not the zip file expected"),
        (lambda folder: (folder / "val2014.zip").write_text("<html>"), "val2014.zip: .*not a zip file"),
        (lambda folder: write_annotations(folder, {"val2014": instances("val2014")}), "lacks annotations/inst.*_train"),
        (lambda folder: write_annotations(folder, {"train2014": instances("train2014")}), "lacks annotations/.*_val"),
        (with_json(b"{"), "instances_train2014.json: not valid JSON"),
        (with_json(b"\xff{"), r"instances_train2014.json: not valid JSON .*utf-8"),
        (with_json(b"[" * 100_000), "instances_train2014.json: not valid JSON"),
        (with_json(b"[]"), "instances_train2014.json: not valid JSON"),
        (with_json(b"{}"), "images is missing"),
        (changed(lambda content: content.update(images=[])), "instances_val2014.json: images is empty"),
        (changed(lambda content: content["images"][2].update(id=103)), "the image id 103 is used twice"),
        (
            changed(lambda content: content["images"][2].update(id=3)),
            "the image id 3 is used twice; .* over both parts",
        ),
        (changed(lambda content: content["categories"][1].update(name="cat")), '0 categories are named "person"'),
        (changed(lambda content: content["categories"][0].update(name="person")), '2 categories are named "person"'),
        (changed(lambda content: content["categories"].pop(0)), "differ in their categories"),
    ],
)
def test_damaged_or_unfitting_archives(
    downloads: Path, raw: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(downloads)
    with pytest.raises(ValueError, match=message) as error:
        store(downloads, raw)
    assert str(error.value).startswith(str(downloads))
    assert "\n" not in str(error.value)
    assert not list(files(raw))


def test_a_json_beyond_the_limit_is_not_read(downloads: Path, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco2014, "_JSON_LIMIT", 1000)
    with pytest.raises(ValueError, match=r"instances_train2014.json is over 1000 bytes"):
        store(downloads, raw)


@pytest.mark.parametrize("file", [coco2014.MINIVAL, coco2014.ANNOTATIONS, "train2014.zip", "val2014.zip"])
def test_missing_file(downloads: Path, raw: Path, file: str) -> None:
    (downloads / file).unlink()
    with pytest.raises(FileNotFoundError, match=file):
        store(downloads, raw)


def test_members_outside_the_folder_are_never_written(downloads: Path, raw: Path, tmp_path: Path) -> None:
    before = {name for name, _ in files(tmp_path)}
    with zipfile.ZipFile(downloads / "train2014.zip", "a") as archive:
        for member in ("../evil.jpg", "train2014/../../evil.jpg", str(tmp_path / "evil.jpg")):
            archive.writestr(member, b"evil")
    assert store(downloads, raw) == {"train": (17, 17), "val": (3, 3)}
    assert {name for name, _ in files(tmp_path)} - before == {f"raw/{name}" for name, _ in files(raw)}


@given(st.data())
@TMP_PATH
def test_mutated_archives_are_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "downloads"
    if not folder.exists():
        write_downloads(folder)
    name = data.draw(st.sampled_from([coco2014.ANNOTATIONS, "train2014.zip"]))
    path = tmp_path / "mutated.zip"
    content = bytearray((folder / name).read_bytes())
    directory = content.index(b"PK\1\2")
    places = st.integers(0, len(content) - 1) | st.integers(directory, len(content) - 1)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(places)] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    try:
        if name == coco2014.ANNOTATIONS:
            coco2014._read_annotations(path, official=False)
        else:
            coco2014._members(path, "train2014", official=False)
    except ValueError as error:
        assert str(error).startswith(str(path))


def test_official_downloads() -> None:
    found = coco2014.remotes("http://images.cocodataset.org/", "https://x.org/ids", None)
    assert [(remote.url, remote.name) for remote in found] == [
        ("https://x.org/ids", "mscoco_minival_ids.txt"),
        ("http://images.cocodataset.org/annotations/annotations_trainval2014.zip", "annotations_trainval2014.zip"),
        ("http://images.cocodataset.org/zips/val2014.zip", "val2014.zip"),
        ("http://images.cocodataset.org/zips/train2014.zip", "train2014.zip"),
    ]
    assert [remote.size for remote in found] == [None, 252872794, 6645013297, 13510573713]
    assert found[3].digest == "md5:0da8c0bd3d6becc4dcb32757491aca88"


def test_downloads_of_other_content() -> None:
    digests = dict.fromkeys((coco2014.ANNOTATIONS, "train2014.zip", "val2014.zip"), f"sha256:{0:064}")
    found = coco2014.remotes("http://x.org/a", "http://x.org/ids", digests)
    assert found[1].url == "http://x.org/a/annotations/annotations_trainval2014.zip"
    assert {remote.size for remote in found} == {None}
    assert [remote.digest for remote in found] == [None] + [f"sha256:{0:064}"] * 3
    del digests["val2014.zip"]
    with pytest.raises(ValueError, match=r"checksums lack val2014.zip; one for each of annotations_trainval2014.zip, "):
        coco2014.remotes("http://x.org", "http://x.org/ids", digests)


def test_the_built_data_set_is_as_the_host_has_it(tmp_path: Path, raw: Path) -> None:
    built = tmp_path / "built"
    photographs = tmp_path / "photographs"
    (photographs / "annotations").mkdir(parents=True)
    for split, listing in (("train", instances("train2014")), ("val", instances("val2014"))):
        layout.annotations_path(photographs, split).write_text(json.dumps(listing))
        (photographs / "images" / split).mkdir(parents=True)
        for image in listing["images"]:
            (photographs / "images" / split / image["file_name"]).write_bytes(jpeg(image["id"]))
    official_layout.build(built, members=40, photographs=photographs, seed=1, workers=1)
    first = list(files(built))
    assert [name for name, _ in first] == [
        "annotations/annotations_trainval2014.zip",
        "md5sums.txt",
        "mscoco_minival_ids.txt",
        "zips/train2014.zip",
        "zips/val2014.zip",
    ]
    official_layout.build(built, members=40, photographs=photographs, seed=1, workers=1)
    assert list(files(built)) == first

    digests = read_checksums(built / official_layout.SUMS)
    assert {remote.digest for remote in coco2014.remotes("http://x", "http://x/ids", digests)} == set(digests.values())
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    for name, content in first:
        (downloads / Path(name).name).write_bytes(content)
    assert store(downloads, raw) == {"train": (38, 38), "val": (2, 2)}
    for split in layout.SOURCE_SPLITS:
        found = coco.read_instances(layout.annotations_path(raw, split), "area")
        assert not found.skips
        assert not found.stray_annotations
        for photograph in found.photographs:
            with zipfile.ZipFile(raw / "images" / f"{photograph.file_name.partition('/')[0]}.zip") as archive:
                assert archive.read(photograph.file_name).startswith(b"\xff\xd8")


def test_a_data_set_too_small_to_build(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="members: 29, should be 30 or more"):
        official_layout.build(tmp_path / "x", members=29, photographs=None, seed=1, workers=1)
    assert not (tmp_path / "x").exists()
