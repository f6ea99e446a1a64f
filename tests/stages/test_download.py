from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from earlyexit import coco
from stages import download
from tests.coco_source import files, write_source


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
    assert len(coco.read_instances(coco.annotations_path(root / "data" / "raw", "train")).photographs) == 4
    write_source(root / "photos")
    run(monkeypatch, source="photos")
    assert embedded.keys() == dict(files(root / "data" / "raw")).keys()


def test_missing_folder_is_explained(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError) as error:
        run(monkeypatch, source="../photos")
    message = str(error.value)
    assert message.startswith(f"data.source: no such folder: ../photos (looked at {root}/../photos).")
    assert coco.LAYOUT in message
    assert "--queue" in message
    assert "absolute path" in message


def test_failure_leaves_what_was_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_source(root / "photos")
    run(monkeypatch, source="photos")
    before = list(files(root / "data"))
    coco.annotations_path(source, "val").write_text("{}")
    with pytest.raises(ValueError, match=r"^data.source: photos/annotations/instances_val.json: images is missing"):
        run(monkeypatch, source="photos")
    assert list(files(root / "data")) == before
