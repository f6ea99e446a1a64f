import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from earlyexit.raw import coco, layout
from earlyexit.sources import class_folders, coco_folder
from rehearsal import coco2014
from rehearsal.server import Fault, serving
from stages import download
from tests.coco_source import files, write_source
from tests.sources.test_class_folders import PERSONS, PHOTOGRAPHS, write_archive, write_folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, **data: Any) -> None:
    monkeypatch.setattr(download, "load", lambda: SimpleNamespace(data=SimpleNamespace(**data)))
    download.main()


def test_embedded_and_folder_give_the_same_layout(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, source="embedded", seed=1, train_images=4, val_images=2)
    embedded = dict(files(root / "data" / "raw"))
    assert len(coco.read_instances(layout.annotations_path(root / "data" / "raw", "train"), "area").photographs) == 4
    write_source(root / "photos")
    run(monkeypatch, source="photos")
    assert embedded.keys() == dict(files(root / "data" / "raw")).keys()


def test_missing_folder_is_explained(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError) as error:
        run(monkeypatch, source="../photos")
    message = str(error.value)
    assert message.startswith(f"data.source: no such folder: ../photos (looked at {root}/../photos).")
    assert coco_folder.LAYOUT in message
    assert "--queue" in message
    assert "absolute path" in message


def test_failure_leaves_what_was_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_source(root / "photos")
    run(monkeypatch, source="photos")
    before = list(files(root / "data"))
    layout.annotations_path(source, "val").write_text("{}")
    with pytest.raises(ValueError, match=r"^data.source: photos/annotations/instances_val.json: images is missing"):
        run(monkeypatch, source="photos")
    assert list(files(root / "data")) == before


def photographs(root: Path) -> dict[str, int]:
    return {
        split: len(coco.read_instances(layout.annotations_path(root / "data" / "raw", split), "area").photographs)
        for split in layout.SOURCE_SPLITS
    }


def test_coco2014_comes_over_a_line_that_breaks(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coco2014.build(root / "host", members=40, photographs=None, seed=1, workers=1)
    with serving(root / "host", Fault(), Fault(cut=1000)) as server:
        run(
            monkeypatch,
            source="coco2014",
            coco_url=server.url,
            minival_url=f"{server.url}/mscoco_minival_ids.txt",
            checksums=str(root / "host" / coco2014.SUMS),
        )
    minival = (root / "host" / "mscoco_minival_ids.txt").read_text().split()
    assert photographs(root) == {"train": 40 - len(minival), "val": len(minival)}
    for part in ("train2014", "val2014"):
        archive = Path("images", f"{part}.zip")
        assert (root / "data" / "raw" / archive).samefile(root / "data" / "downloads" / archive.name)


def test_mlperf_tiny_and_a_folder_of_two_classes_give_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "host").mkdir()
    archive = write_archive(root / "host" / class_folders.ARCHIVE)
    sums = root / "sums"
    sums.write_text(f"{hashlib.sha256(archive.read_bytes()).hexdigest()}  {archive.name}\n")
    with serving(root / "host") as server:
        url = f"{server.url}/{archive.name}"
        run(monkeypatch, source="mlperf_tiny", mlperf_tiny_url=url, checksums=str(sums), val_share=0.2)
    found = list(files(root / "data" / "raw" / "annotations"))
    assert photographs(root) == {"train": 28, "val": 7}
    run(monkeypatch, source=str(write_folder(root / "classes")), val_share=0.2)
    assert list(files(root / "data" / "raw" / "annotations")) == found
    assert len(PERSONS) < len(PHOTOGRAPHS) == 35


def test_checksums_that_are_none_are_explained(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "sums").write_text("nothing\n")
    with pytest.raises(ValueError, match=r"^data.checksums: sums, line 1"):
        run(monkeypatch, source="mlperf_tiny", mlperf_tiny_url="http://127.0.0.1:9", checksums="sums", val_share=0.1)
