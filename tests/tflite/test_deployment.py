import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earlyexit.tflite import deployment
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.reader import interface, logits_and_features
from tests.conftest import Exported


@pytest.fixture
def folder(tmp_path: Path, deployed: Deployment) -> Path:
    deployment.save(tmp_path, deployed, "litert")
    return tmp_path


@pytest.fixture
def manifest(folder: Path) -> Any:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def test_round_trip(folder: Path, deployed: Deployment) -> None:
    assert deployment.load(folder) == deployed


def test_manifest_says_all_that_a_device_needs(folder: Path, deployed: Deployment, manifest: Any) -> None:
    assert manifest["labels"] == ["no person", "person"]
    assert manifest["quantizer"] == "litert"
    assert (manifest["pixels"]["offset"], manifest["pixels"]["divisor"]) == (128, 128)
    assert [entry["classifier"] for entry in manifest["segments"]] == ["exit1", "exit2", "final"]
    for entry, model in zip(manifest["segments"], deployed.models, strict=True):
        content = (folder / entry["file"]).read_bytes()
        assert content == model
        assert entry["bytes"] == len(content)
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        (taken,), outputs = interface(content)
        logits, features = logits_and_features(outputs)
        for written, tensor in zip((entry["input"], entry["logits"]), (taken, logits), strict=True):
            assert written == {"shape": list(tensor.shape[1:]), "scale": tensor.scale, "zero_point": tensor.zero_point}
        assert (entry["features"] is None) == (features is None)
        if features is not None:
            assert entry["features"]["shape"] == list(features.shape[1:])
            assert entry["features"]["scale"] == features.scale


def test_the_manifests_rule_for_pixels_is_the_one_used(manifest: Any, deployed: Deployment, exported: Exported) -> None:
    pixels, tensor = manifest["pixels"], manifest["segments"][0]["input"]
    real = (exported.images[:2].astype(np.float64) - pixels["offset"]) / pixels["divisor"]
    expected = np.round(real / tensor["scale"]) + tensor["zero_point"]
    assert np.array_equal(deployed.quantize(exported.images[:2]), expected)


def test_macs_are_the_segments_own(deployed: Deployment) -> None:
    # The last segment: block 4 (8 -> 16 -> 12, 10x10 -> 5x5), block 5 (12 -> 24 -> 12), last (12 -> 16), linear.
    block4 = 100 * 8 * 16 + 25 * 9 * 16 + 25 * 16 * 12
    block5 = 25 * 12 * 24 + 25 * 9 * 24 + 25 * 24 * 12
    assert deployed.macs[2] == deployment.macs(deployed.models[2]) == block4 + block5 + 25 * 12 * 16 + 2 * 16


def test_logits_scales_turn_margins_into_differences_of_logits(deployed: Deployment) -> None:
    assert deployed.logits_scales() == [segment.logits_quantization.scale for segment in deployed.segments()]


def test_a_tampered_file_is_named(folder: Path) -> None:
    path = folder / "segment2.tflite"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"segment2\.tflite: not the file that manifest\.json names \(SHA-256 differs\)"
    ):
        deployment.load(folder)


@pytest.mark.parametrize("name", ["segment3.tflite", "manifest.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        deployment.load(folder)


@pytest.mark.parametrize("leaf", ["segments", "pixels"])
@pytest.mark.parametrize("value", [None, 3, [1], [{}]])
def test_a_manifest_that_does_not_fit(folder: Path, manifest: Any, leaf: str, value: object) -> None:
    (folder / "manifest.json").write_text(json.dumps(manifest | {leaf: value}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"manifest\.json: not a manifest of segments"):
        deployment.load(folder)
