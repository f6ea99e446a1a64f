import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from earlyexit import dataset as packed_splits
from earlyexit.common.files import write_json
from earlyexit.evaluation import per_image
from earlyexit.packing import pack
from earlyexit.plots.sheets import examples
from earlyexit.plots.sheets.sheet import Sheet
from earlyexit.reports import shift
from earlyexit.sources import coco_folder
from earlyexit.tflite.deployment import Deployment
from stages import plots
from tests.coco_source import files, write_source
from tests.plots import results
from tests.plots.test_costs import report as emulated_report

LAYERS = """\
layer,images,segment,classifier,index,operator,head,shape,scale,zero_point,sqnr,sqnr_alone,sqnr_rounding,max_error
1,4,1,exit1,0,CONV_2D,False,8x8x4,0.02,-128,40,42,43,1
2,4,1,exit1,1,MEAN,True,4,0.02,-128,38,42,43,1
3,4,2,final,0,FULLY_CONNECTED,False,2,0.02,3,35,36,36,1
"""


def write_deployment(folder: Path, names: list[str], macs: list[int]) -> None:
    folder.mkdir(parents=True)
    segments = []
    for name, count in zip(names, macs, strict=True):
        (folder / f"{name}.tflite").write_bytes(name.encode())
        sha256 = hashlib.sha256(name.encode()).hexdigest()
        segments.append({"file": f"{name}.tflite", "sha256": sha256, "macs": count, "classifier": name})
    write_json(folder / "manifest.json", {"pixels": {"offset": 128, "divisor": 128}, "segments": segments})


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds everything the stage reads."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Deployment, "logits_scales", lambda self: results.scales(len(self.names) - 1))
    (tmp_path / "data" / "raw").mkdir(parents=True)
    coco_folder.store_folder(write_source(tmp_path / "source"), tmp_path / "data" / "raw")
    packed = tmp_path / "data" / "packed"
    pack.pack(
        tmp_path / "data" / "raw",
        packed,
        source="folder",
        resolution=16,
        rule="vww",
        min_person_area={"vww": 0.1, "vww_box": 0.1},
        calibration_share=0.3,
        max_skipped=0,
        workers=1,
    )
    val = packed_splits.open_split(packed, "val")
    models = tmp_path / "models"
    write_deployment(models / "int8" / "early_exit", results.names(3), results.MACS)
    write_deployment(models / "int8" / "baseline", ["final"], [results.BASELINE_MACS])
    (models / "int8" / "early_exit" / "layers.csv").write_text(LAYERS)
    (models / "evaluation").mkdir()
    found = replace(results.evaluation(len(val)), ids=val.ids, labels=val.labels)
    per_image.save(models / "evaluation" / "val.safetensors", found)
    write_json(models / "thresholds.json", results.thresholds().model_dump())
    write_json(models / "policies.json", results.policies().model_dump())
    write_json(models / "latency.json", results.latency())
    (tmp_path / "reports").mkdir()
    write_json(tmp_path / "reports" / "emulated.json", emulated_report(3))
    write_json(tmp_path / "reports" / "placement.json", {"placement": "given", "exits": ["block2"], "head": "pooled"})
    write_json(
        tmp_path / "reports" / "shift.json", shift.report(results.policies(), results.shifts(found), results.costs())
    )
    for stage, names in {"baseline": ["final"], "disjoint": results.names(3)[:-1], "joint": results.names(3)}.items():
        columns = {f"{split}/{name}": [0.6, 0.7] for split in ("train", "calibration") for name in names}
        results.write_logs(models / stage / "log", {**columns, "train/loss": [0.7, 0.5]})
    return tmp_path


def test_writes_every_figure(root: Path) -> None:
    plots.main()
    written = dict(files(root / "reports"))
    drawn = {
        "frontier",
        "policies",
        "exit_share",
        "confidence",
        "learning_curves",
        "quantization",
        "latency",
        "reliability",
        "layer_error",
        "emulated",
        "shift",
    }
    pictures = {f"plots/{name}.png" for name in drawn | {"examples", "samples"}}
    tables = {f"plots/{name}.csv" for name in drawn - {"frontier"} | {"frontier_points"}}
    assert written.keys() == pictures | tables | {"frontier.csv", "emulated.json", "placement.json", "shift.json"}
    curve = pd.read_csv(root / "reports" / "frontier.csv")
    assert list(curve.columns) == [
        "percentile",
        "accuracy",
        "accuracy_low",
        "accuracy_high",
        "early_exit_rate",
        "speedup_macs",
        "speedup_measured",
        "speedup_emulated",
    ]
    assert curve["early_exit_rate"].is_monotonic_decreasing


def test_examples_are_of_the_middle_percentile(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / "models" / "thresholds.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "table": [95, 50, 75]}))
    seen = []

    def draw(*args: Any) -> Sheet:
        seen.append(args[-3:-1])
        return Sheet(1, 1)

    monkeypatch.setattr(examples, "draw", draw)
    monkeypatch.setattr(plots, "save_figure", lambda path, figure: None)
    plots.main()
    assert seen == [(results.thresholds().margins[75], 75)]


def test_failure_leaves_what_was_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "save_figure", lambda path, figure: None)
    (root / "reports" / "plots").mkdir(parents=True)
    for name in ("frontier.csv", "plots/frontier.png"):
        (root / "reports" / name).write_text("before")
    before = dict(files(root / "reports"))
    (root / "data" / "raw" / "images" / "train.zip").unlink()
    with pytest.raises(FileNotFoundError, match=r"train\.zip"):
        plots.main()
    assert dict(files(root / "reports")) == before
