import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from earlyexit.dataset import open_split
from earlyexit.params import PersonArea
from earlyexit.sources import coco_folder
from stages import prepare
from tests.coco_source import content, write_content, write_source


def test_packs_data_raw_and_prints_the_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_source(tmp_path / "source")
    value = content("val")
    value["annotations"].append({"image_id": 5, "category_id": 1, "bbox": [0, 0, 1, 1]})
    write_content(source, "val", value)
    (source / "images" / "train" / "000001.jpg").unlink()
    (tmp_path / "data" / "raw").mkdir(parents=True)
    coco_folder.store_folder(source, tmp_path / "data" / "raw")
    data = SimpleNamespace(
        source="folder",
        resolution=32,
        label_rule="vww",
        min_person_area=PersonArea(vww=0.1, vww_box=0.1, mlperf=0.2),
        calibration_share=0.3,
        max_skipped=0.05,
    )
    monkeypatch.setattr(prepare, "load", lambda: SimpleNamespace(data=data))
    monkeypatch.chdir(tmp_path)
    prepare.main()
    assert open_split(tmp_path / "data" / "packed", "val").images.shape == (6, 32, 32, 3)
    summary = json.loads((tmp_path / "data" / "packed" / "summary.json").read_text())
    assert (summary["source"], summary["min_person_area"], summary["calibration_share"]) == ("folder", 0.1, 0.3)
    printed = capsys.readouterr().out
    assert "val 3 / 3; 1 skipped" in printed
    assert "skipped, missing: 1" in printed
    assert "val: label_rule vww and vww_box differ on 0 of 6 images" in printed
    assert "ignored: 1 annotations" in printed
