import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from earlyexit.raw import coco, layout
from earlyexit.sources import class_folders
from tests.coco_source import files, jpeg

TMP_PATH = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)

PERSONS = [f"person/{i:03}.jpg" for i in range(10)]
OTHERS = [f"non_person/{i:03}.jpg" for i in range(25)]
PHOTOGRAPHS = {name: jpeg(number) for number, name in enumerate(PERSONS + OTHERS)}


def write_folder(folder: Path, content: Mapping[str, bytes] = PHOTOGRAPHS) -> Path:
    for name, photograph in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(photograph)
    return folder


def header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = size, kind, link
    return member


def write_archive(
    path: Path, content: Mapping[str, bytes] = PHOTOGRAPHS, *more: tarfile.TarInfo, root: str = "vw_coco2014_96/"
) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member in more:
            archive.addfile(member, io.BytesIO(bytes(member.size)))
        for name, photograph in content.items():
            archive.addfile(header(root + name, len(photograph)), io.BytesIO(photograph))
    return path


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


def listed(raw: Path, split: str) -> list[str]:
    return [item.file_name for item in coco.read_instances(layout.annotations_path(raw, split), "area").photographs]


def test_the_first_of_each_class_are_val(tmp_path: Path, raw: Path) -> None:
    source = write_folder(tmp_path / "source")
    assert class_folders.store_folder(source, raw, val_share=0.1) == {"train": (32, 32), "val": (3, 3)}
    assert [name for name, _ in files(raw)] == [
        "annotations/instances_train.json",
        "annotations/instances_val.json",
        "images/train.zip",
        "images/val.zip",
    ]
    assert listed(raw, "val") == ["non_person/000.jpg", "non_person/001.jpg", "person/000.jpg"]
    assert listed(raw, "train") == [*OTHERS[2:], *PERSONS[1:]]
    train, val = (
        coco.read_instances(layout.annotations_path(raw, split), "area").photographs for split in layout.SOURCE_SPLITS
    )
    assert [photograph.id for photograph in train + val] == list(range(1, 36))
    for photograph in train + val:
        assert photograph.area_share == photograph.file_name.startswith("person/")
        assert (photograph.width, photograph.height) == (60, 40)


def test_photographs_are_stored_byte_for_byte(tmp_path: Path, raw: Path) -> None:
    class_folders.store_folder(write_folder(tmp_path / "source"), raw, val_share=0.1)
    for split in layout.SOURCE_SPLITS:
        with zipfile.ZipFile(layout.archive_path(raw, split)) as archive:
            assert archive.namelist() == [layout.member_name(split, name) for name in listed(raw, split)]
            for name in listed(raw, split):
                assert archive.read(layout.member_name(split, name)) == PHOTOGRAPHS[name]


@pytest.mark.parametrize("root", ["vw_coco2014_96/", "./", "", "./a/b/"])
def test_an_archive_gives_what_its_folder_gives(tmp_path: Path, raw: Path, root: str) -> None:
    class_folders.store_folder(write_folder(tmp_path / "source"), raw, val_share=0.2)
    backwards = dict(sorted(PHOTOGRAPHS.items(), reverse=True))
    path = write_archive(tmp_path / "x.tar.gz", backwards, root=root)
    again = tmp_path / "again"
    again.mkdir()
    assert class_folders.store_archive(path, again, val_share=0.2) == {"train": (28, 28), "val": (7, 7)}
    for split in layout.SOURCE_SPLITS:
        instances = [layout.annotations_path(folder, split).read_bytes() for folder in (raw, again)]
        assert instances[0] == instances[1]
        with zipfile.ZipFile(layout.archive_path(again, split)) as archive:
            assert sorted(archive.namelist()) == [layout.member_name(split, name) for name in listed(raw, split)]
            for name in listed(raw, split):
                assert archive.read(layout.member_name(split, name)) == PHOTOGRAPHS[name]


def test_the_same_archive_gives_the_same_bytes(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "x.tar.gz")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        class_folders.store_archive(path, tmp_path / name, val_share=0.1)
    assert list(files(tmp_path / "one")) == list(files(tmp_path / "two"))


def test_other_and_hidden_files_are_left_out(tmp_path: Path, raw: Path) -> None:
    more = ["person/Thumbs.db", "person/.DS_Store", "person/._000.jpg", "person/.cache/x.jpg", ".git/x.jpg", "x.jpg"]
    more += ["licences/LICENSE.txt", "notes.txt"]
    content = PHOTOGRAPHS | dict.fromkeys(more, b"x")
    counts = class_folders.store_folder(write_folder(tmp_path / "source", content), raw, val_share=0.1)
    assert counts == {"train": (32, 32), "val": (3, 3)}
    (tmp_path / "again").mkdir()
    path = write_archive(tmp_path / "x.tar.gz", content, root="")
    assert class_folders.store_archive(path, tmp_path / "again", val_share=0.1) == counts


def test_deeper_folders_belong_to_their_class_and_follow_its_own_files(tmp_path: Path, raw: Path) -> None:
    persons = ("person/z.JPG", "person/a/a.png", "person/a-b/a.png", "person/a/b/a.tiff")
    content = dict.fromkeys((*persons, "dog/1.jpeg", "dog/2.bmp"), b"x")
    class_folders.store_folder(write_folder(tmp_path / "source", content), raw, val_share=0.5)
    assert listed(raw, "val") == ["dog/1.jpeg", "person/z.JPG", "person/a/a.png"]
    assert listed(raw, "train") == ["dog/2.bmp", "person/a-b/a.png", "person/a/b/a.tiff"]


names = st.lists(st.text("abAB01-_. é", min_size=1, max_size=6).map(lambda text: f"x{text}.jpg"), unique=True)
shares = st.floats(0.01, 0.99)


@given(names, names, shares)
@settings(deadline=None)
def test_the_split_is_a_partition_of_each_class(persons: list[str], others: list[str], share: float) -> None:
    classes = {"person": persons, "dog": others}
    paths = [f"{label}/{name}" for label, found in classes.items() for name in found]
    small = any(int(share * len(found)) == 0 for found in classes.values())
    if small:
        with pytest.raises(ValueError, match=r"exactly two are needed|is less than one"):
            class_folders._split(Path("x"), paths, share)
        return
    splits = class_folders._split(Path("x"), paths, share)
    assert sorted(splits["train"] + splits["val"]) == sorted(paths)
    for label, found in classes.items():
        held_out = [path for path in splits["val"] if path.startswith(f"{label}/")]
        assert held_out == [f"{label}/{name}" for name in sorted(found)[: int(share * len(found))]]


KERAS = """
import json, sys
from keras.src.legacy.preprocessing.image import ImageDataGenerator

found = []
for share in json.loads(sys.argv[2]):
    generator = ImageDataGenerator(validation_split=share)
    for subset in ("training", "validation"):
        found.append(generator.flow_from_directory(sys.argv[1], subset=subset, shuffle=False).filenames)
print(json.dumps(found))
"""


def test_the_split_is_that_of_keras(tmp_path: Path) -> None:
    """MLPerf Tiny's reference was trained on this generator's training subset: none of that may be in val."""
    content = PHOTOGRAPHS | dict.fromkeys(("person/a/x.png", "person/a/b/x.PNG", "person/A.jpg", "person/b.txt"), b"x")
    source = write_folder(tmp_path / "source", content)
    names = list(class_folders._names_in_folder(source))
    shares = [0.1, 0.29, 0.5]
    command = [sys.executable, "-c", KERAS, str(source), json.dumps(shares)]
    # In a process of its own, for the choice of the light backend holds for the whole of it.
    done = subprocess.run(command, capture_output=True, check=True, env=os.environ | {"KERAS_BACKEND": "numpy"})
    splits = [class_folders._split(source, names, share) for share in shares]
    assert json.loads(done.stdout.splitlines()[-1]) == [split[key] for split in splits for key in ("train", "val")]


@pytest.mark.parametrize(
    "content", [b"", b"no image", jpeg(1)[:3], b"\x89PNG\r\n\x1a\n" + bytes(40), b"P6 99999999 99999999 255 "]
)
def test_what_is_no_image_is_listed_for_prepare_to_judge(tmp_path: Path, raw: Path, content: bytes) -> None:
    source = write_folder(tmp_path / "source", PHOTOGRAPHS | {"person/003.jpg": content})
    assert class_folders.store_folder(source, raw, val_share=0.1) == {"train": (32, 32), "val": (3, 3)}
    photographs = coco.read_instances(layout.annotations_path(raw, "train"), "area").photographs
    (found,) = (photograph for photograph in photographs if photograph.file_name == "person/003.jpg")
    assert (found.width, found.height, found.area_share) == (1, 1, 1)


def test_sizes_are_those_of_the_stored_pixels(tmp_path: Path, raw: Path) -> None:
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (30, 50)).save(turned, "JPEG", exif=exif)
    source = write_folder(tmp_path / "source", PHOTOGRAPHS | {"person/003.jpg": turned.getvalue()})
    class_folders.store_folder(source, raw, val_share=0.1)
    content: Any = json.loads(layout.annotations_path(raw, "train").read_text())
    (image,) = (image for image in content["images"] if image["file_name"] == "person/003.jpg")
    assert (image["width"], image["height"]) == (30, 50)
    boxes = [item["bbox"] for item in content["annotations"] if item["image_id"] == image["id"]]
    assert boxes == [[0, 0, 30, 50]]


def without(*prefixes: str) -> dict[str, bytes]:
    return {name: content for name, content in PHOTOGRAPHS.items() if not name.startswith(prefixes)}


UNFIT = [
    ({}, r"folders with photographs .*: none; exactly two are needed, one of them named person"),
    (without("person/"), "exactly two are needed"),
    (without("non_person/"), "exactly two are needed"),
    (PHOTOGRAPHS | {"cat/x.jpg": b""}, "cat, non_person, person; exactly two are needed"),
    (without("person/") | {"Person/x.jpg": b""}, "Person, non_person; exactly two"),
    (without("person/") | {"person/x.jpg": b""}, "val_share = 0.1 of the 1 photographs of person is less than one"),
    (PHOTOGRAPHS | {"person/a\\b.jpg": b""}, "file names must be short and printable"),
    (PHOTOGRAPHS | {"person/a\nb.jpg": b""}, r"'person/a\\nb.jpg': file names must be short"),
    (PHOTOGRAPHS | {"person/\udcff.jpg": b""}, r"'person/\\udcff.jpg': file names must be short"),
]


@pytest.mark.parametrize(("content", "message"), UNFIT)
def test_what_is_not_two_class_folders(tmp_path: Path, raw: Path, content: dict[str, bytes], message: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    path = write_archive(tmp_path / "source.tar.gz", content, root="")
    for store, where in (
        (class_folders.store_folder, write_folder(source, content)),
        (class_folders.store_archive, path),
    ):
        with pytest.raises(ValueError, match=message) as error:
            store(where, raw, val_share=0.1)
        assert str(error.value).startswith(f"{where}: ")
        assert "\n" not in str(error.value)
        assert not list(files(raw))


def test_a_share_that_is_none(tmp_path: Path, raw: Path) -> None:
    source = write_folder(tmp_path / "source")
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match=r"val_share is .*must lie between 0 and 1"):
            class_folders.store_folder(source, raw, val_share=share)


def test_links_in_a_folder(tmp_path: Path, raw: Path) -> None:
    write_folder(tmp_path / "elsewhere")
    source = tmp_path / "source"
    source.mkdir()
    (source / "person").symlink_to(tmp_path / "elsewhere" / "person")
    (source / "non_person").symlink_to("../elsewhere/non_person")
    (tmp_path / "elsewhere/person/loop").symlink_to("..")
    assert class_folders.store_folder(source, raw, val_share=0.1) == {"train": (32, 32), "val": (3, 3)}
    (tmp_path / "elsewhere/person/x.jpg").symlink_to("nowhere.jpg")
    with pytest.raises(ValueError, match=r"person/x.jpg: a broken link or no file"):
        class_folders.store_folder(source, raw, val_share=0.1)
    (tmp_path / "elsewhere/person/x.jpg").unlink()
    os.mkfifo(tmp_path / "elsewhere/person/x.jpg")
    with pytest.raises(ValueError, match=r"person/x.jpg: a broken link or no file"):
        class_folders.store_folder(source, raw, val_share=0.1)


def test_missing_folder_or_archive(tmp_path: Path, raw: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        class_folders.store_folder(tmp_path / "nowhere", raw, val_share=0.1)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        class_folders.store_archive(tmp_path / "nowhere", raw, val_share=0.1)


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (header("../evil.jpg", 4), "../evil.jpg': a path out of the archive's folder"),
        (header("vw_coco2014_96/person/../../../evil.jpg", 4), "a path out of the archive's folder"),
        (header("/tmp/evil.jpg", 4), "/tmp/evil.jpg': a path out of the archive's folder"),
        (header("../evil.txt", 4), "a path out of the archive's folder"),
        (header("vw_coco2014_96/person/l.jpg", 0, tarfile.SYMTYPE, "/etc/passwd"), "l.jpg': a link or device"),
        (header("vw_coco2014_96/person/l.jpg", 0, tarfile.LNKTYPE, "/etc/passwd"), "l.jpg': a link or device"),
        (header("vw_coco2014_96/person", 0, tarfile.SYMTYPE, "/tmp"), "person': a link or device"),
        (header("vw_coco2014_96/person/d.jpg", 0, tarfile.CHRTYPE), "d.jpg': a link or device"),
        (header("vw_coco2014_96/person/f.jpg", 0, tarfile.FIFOTYPE), "f.jpg': a link or device"),
        (header("vw_coco2014_96/person/000.jpg", 4), "person/000.jpg': there twice"),
        (header("vw_coco2014_96/person//./000.jpg", 4), "person/000.jpg': there twice"),
        (header("bomb", 2**26 + 1), "'bomb': 67108865 bytes; 67108864 are allowed"),
    ],
)
def test_hostile_members(tmp_path: Path, raw: Path, member: tarfile.TarInfo, message: str) -> None:
    before = {name for name, _ in files(tmp_path)}
    path = write_archive(tmp_path / "x.tar.gz", PHOTOGRAPHS, member)
    with pytest.raises(ValueError, match=message) as error:
        class_folders.store_archive(path, raw, val_share=0.1)
    assert str(error.value).startswith(f"{path}: not a usable tar.gz archive (")
    assert {name for name, _ in files(tmp_path)} - before == {"x.tar.gz"}


def unzipped(path: Path) -> bytearray:
    return bytearray(gzip.decompress(path.read_bytes()))


def with_size(path: Path, size: bytes, kind: bytes) -> None:
    """Claim another size (the field's bytes) and type in the first header."""
    content = unzipped(path)
    content[124:136] = size
    content[156:157] = kind
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    path.write_bytes(gzip.compress(bytes(content)))


def cut(position: Callable[[int], int]) -> Callable[[Path], None]:
    """Cut the tar inside, so that gzip has nothing to complain of."""

    def write(path: Path) -> None:
        content = unzipped(path)
        path.write_bytes(gzip.compress(bytes(content[: position(len(content))])))

    return write


def wrong_header(path: Path) -> None:
    content = unzipped(path)
    content[content.index(OTHERS[3].encode())] ^= 1
    path.write_bytes(gzip.compress(bytes(content)))


def wrong_sum(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: os.truncate(path, path.stat().st_size // 2), "ended before the end-of-stream marker"),
        (lambda path: os.truncate(path, 5), "ended before"),
        (lambda path: os.truncate(path, 0), "empty file"),
        (lambda path: path.write_bytes(b"<html>"), "Not a gzipped file"),
        (lambda path: path.write_bytes(gzip.compress(b"<html>")), "truncated header"),
        (lambda path: path.write_bytes(gzip.compress(bytes(10240))), "none; exactly two are needed"),
        (cut(lambda size: size // 2), "a damaged header, or the end is missing"),
        (cut(lambda size: 1024), "unexpected end of data"),
        (wrong_header, "a damaged header, or the end is missing"),
        (wrong_sum, "CRC check failed"),
        (lambda path: with_size(path, b"77777777777\0", tarfile.REGTYPE), "8589934591 bytes; 67108864 are allowed"),
        (lambda path: with_size(path, b"\xff" * 12, tarfile.REGTYPE), "-1 bytes"),
        (lambda path: with_size(path, b"\xff" * 11 + b"\x00", tarfile.DIRTYPE), "-256 bytes"),
        (lambda path: with_size(path, b"77777777777\0", tarfile.XHDTYPE), "a header of impossible size"),
        (lambda path: with_size(path, b"77777777777\0", tarfile.GNUTYPE_LONGNAME), "a header of impossible size"),
        (lambda path: with_size(path, b"\xff" * 10 + b"\x00\x00", tarfile.XGLTYPE), "a header of impossible size"),
    ],
)
def test_damaged_archives(tmp_path: Path, raw: Path, damage: Callable[[Path], object], message: str) -> None:
    path = write_archive(tmp_path / "x.tar.gz")
    damage(path)
    with pytest.raises(ValueError, match=message) as error:
        class_folders.store_archive(path, raw, val_share=0.1)
    assert str(error.value).startswith(str(path))
    assert not list(files(raw))


@given(st.data())
@TMP_PATH
def test_mutated_archives_are_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    source = tmp_path / "source.tar.gz"
    if not source.exists():
        content = {f"{label}/{'long' * 60}{i}.jpg": b"x" for label in ("person", "dog") for i in range(2)}
        write_archive(source, content, header("vw_coco2014_96/", kind=tarfile.DIRTYPE))
    inside = unzipped(source)
    for _ in range(data.draw(st.integers(1, 4))):
        inside[data.draw(st.integers(0, len(inside) - 1))] = data.draw(st.integers(0, 255))
    packed = bytearray(gzip.compress(bytes(inside), mtime=0))
    if data.draw(st.booleans()):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "mutated.tar.gz"
    path.write_bytes(packed[: data.draw(st.just(len(packed)) | st.integers(0, len(packed)))])
    try:
        names = list(class_folders._names_in_archive(path))
        assert len(list(class_folders._read_archive(path, {name: name for name in names}))) == len(names)
    except ValueError as error:
        assert str(error).startswith(str(path))


def test_download() -> None:
    url = "https://x.org/other_name.tar.gz?x=1"
    found = class_folders.remote(url, None)
    assert (found.url, found.name, found.size) == (url, "vw_coco2014_96.tar.gz", 234810765)
    assert found.digest == "sha256:f8746b9e44f8a7a4293f73be9ba6e8da9239fe69798d42364aae62b915cfab58"
    digest = f"md5:{0:032}"
    assert class_folders.remote(url, {found.name: digest}).digest == digest
    assert class_folders.remote(url, {found.name: digest}).size is None
    with pytest.raises(ValueError, match=r"checksums lack vw_coco2014_96.tar.gz"):
        class_folders.remote(url, {"other_name.tar.gz": digest})
