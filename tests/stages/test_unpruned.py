"""The stages from pruning to Table I on a network that loses channels, and on one that does not."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from earlyexit import taught
from earlyexit.common.files import read_json, write_json
from earlyexit.dataset import COLUMNS
from earlyexit.model import checkpoint
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.quantization import convert
from earlyexit.tflite import deployment
from earlyexit.tflite.deployment import Deployment
from stages import (
    benchmark,
    calibrate,
    emulate,
    evaluate,
    policies,
    policy,
    prune,
    pruning,
    ptq,
    qat,
    shrink,
    table1,
    unpruned,
)
from tests import tiny_network
from tests.page.made import write_params
from tests.pruning.planted import plant

SMALL = {"ptq.images": 16, "emulate.images": 2, "benchmark.passes": 1, "train.threads": 1}
SPEEDUPS = ("speedup_macs", "speedup_measured", "speedup_emulated")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds params and packed images; there is no teacher."""
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path, SMALL)
    packed = tmp_path / "data/packed"
    packed.mkdir(parents=True)
    tables = []
    for number, split in enumerate(("calibration", "val")):
        made = tiny_network.dark_and_bright(40, seed=number)
        np.save(packed / f"{split}.npy", made.images)
        tables.append(pd.DataFrame({"id": made.ids, "split": split, "label": made.labels, "person_share": 0.0}))
    pd.concat(tables)[COLUMNS].to_csv(packed / "index.csv", index=False)
    (tmp_path / "models/teacher").mkdir(parents=True)
    write_json(Path("models/teacher") / taught.FACTS, {"model": None})
    return tmp_path


def baseline() -> EarlyExitNetwork:
    return tiny_network.network(tiny_network.architecture(exits=[], head_channels=[]))


def save(folder: str, network: EarlyExitNetwork) -> None:
    Path(folder).mkdir(parents=True)
    checkpoint.save(Path(folder), network, {})


def export(source: str, target: str) -> None:
    """Do what the ptq stage needs of the export stage, without ONNX and the comparison with it, which take as long."""
    network = checkpoint.load(Path(source)).fold()
    convert.keep_biases(network)
    Path(target).mkdir(parents=True)
    write_json(Path(target, "architecture.json"), network.architecture.model_dump())
    (segment,) = convert.to_tflite(network)
    Path(target, "segment1.float.tflite").write_bytes(segment)


def run(monkeypatch: pytest.MonkeyPatch, main: Callable[[], None], *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["stage", *arguments])
    main()


def test_a_pruned_baseline_has_its_unpruned_row(
    root: Path, monkeypatch: pytest.MonkeyPatch, deployed: Deployment
) -> None:
    network = baseline()
    for group in ("block3.hidden", "last"):
        plant(network, group, [0, 1, 2, 3], -1.0)
    save("models/baseline", network)
    run(monkeypatch, shrink.main)
    run(monkeypatch, prune.main, "models/shrunk", "models/pruned/baseline")
    run(monkeypatch, qat.main, "baseline")
    export("models/qat/baseline", "models/export/baseline")
    run(monkeypatch, ptq.main, "baseline")
    # The early-exit network loses nothing. What it is in INT8 was made before.
    save("models/joint", tiny_network.network(tiny_network.architecture()))
    run(monkeypatch, prune.main, "models/joint", "models/pruned/early_exit")
    Path("models/int8/early_exit").mkdir()
    deployment.save(Path("models/int8/early_exit"), deployed, "litert")
    for stage in (emulate, calibrate, policy, evaluate, benchmark, unpruned, pruning, policies, table1):
        run(monkeypatch, stage.main)

    rows: dict[str, dict[str, Any]] = {row["configuration"]: row for row in read_json("reports/table1.json")}
    assert list(rows)[:3] == ["fp32", "int8_unpruned", "int8_baseline"]
    whole, pruned = rows["int8_unpruned"], rows["int8_baseline"]
    assert whole["accuracy"] == pruned["accuracy"]
    assert whole["speedup_macs"] == pruned["mean_macs"] / whole["mean_macs"] < 1
    assert whole["speedup_emulated"] < 1
    assert [pruned[key] for key in SPEEDUPS] == [1, 1, 1]
    found = read_json("reports/prune.json")["baseline"]
    assert sum(group["channels"] - group["left"] for group in found["groups"]) == 8
    for row, when in ((whole, "before"), (pruned, "after")):
        assert row["mean_macs"] == sum(part[when]["macs"] for part in found["parts"])
    assert set(read_json("reports/metrics.json")) & set(rows) == {"fp32", "int8_baseline", "p50", "p75", "p95"}


def test_a_baseline_that_lost_nothing_has_none(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("models/baseline", "models/pruned/baseline"):
        save(folder, baseline())
    run(monkeypatch, unpruned.main)
    assert read_json("models/unpruned.json") is None
