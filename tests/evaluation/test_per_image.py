from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from earlyexit.evaluation import per_image
from earlyexit.evaluation.per_image import Evaluation


@pytest.fixture
def found() -> Evaluation:
    rng = np.random.default_rng(0)
    return Evaluation(
        ids=np.arange(100, 140),
        labels=np.arange(40) % 2,
        fp32_baseline=rng.normal(size=(1, 40, 2)).astype(np.float32),
        int8_baseline=rng.integers(-128, 128, (1, 40, 2), dtype=np.int8),
        fp32_early_exit=rng.normal(size=(3, 40, 2)).astype(np.float32),
        int8_early_exit=rng.integers(-128, 128, (3, 40, 2), dtype=np.int8),
    )


def test_round_trip(tmp_path: Path, found: Evaluation) -> None:
    path = tmp_path / "val.safetensors"
    per_image.save(path, found)
    again = per_image.load(path)
    for name, value in vars(found).items():
        loaded = getattr(again, name)
        assert loaded.dtype == value.dtype
        np.testing.assert_array_equal(loaded, value)


def test_a_view_is_saved_as_what_it_shows(tmp_path: Path, found: Evaluation) -> None:
    paths = tmp_path / "a", tmp_path / "b"
    swapped = np.ascontiguousarray(np.swapaxes(found.int8_early_exit, 0, 1))
    per_image.save(paths[0], found)
    per_image.save(paths[1], Evaluation(**(vars(found) | {"int8_early_exit": np.swapaxes(swapped, 0, 1)})))
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_damaged_and_missing_files(tmp_path: Path, found: Evaluation) -> None:
    path = tmp_path / "val.safetensors"
    with pytest.raises(FileNotFoundError, match=r"val\.safetensors"):
        per_image.load(path)
    per_image.save(path, found)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"val\.safetensors: not a whole safetensors file"):
        per_image.load(path)


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_a_file_of_other_tensors(tmp_path: Path, found: Evaluation, change: str) -> None:
    path = tmp_path / "val.safetensors"
    per_image.save(path, found)
    tensors = load_file(path)
    if change == "missing":
        del tensors["labels"]
    else:
        tensors["more"] = np.zeros(1)
    save_file(tensors, path)
    with pytest.raises(ValueError, match=r"val\.safetensors: holds .*rerun the evaluate stage"):
        per_image.load(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("name", "row"), [("fp32_baseline", 0), ("fp32_early_exit", 1)])
def test_logits_that_are_not_finite(tmp_path: Path, found: Evaluation, name: str, row: int, value: float) -> None:
    path = tmp_path / "val.safetensors"
    getattr(found, name)[row, 3:5, 1] = value
    message = f"{name}: classifier {row + 1} has NaN or infinite logits on 2 of 40 images"
    with pytest.raises(ValueError, match=f"^{message}$"):
        per_image.save(path, found)
    assert not path.exists()
    save_file(vars(found), path)
    with pytest.raises(ValueError, match=rf"val\.safetensors: {message}; rerun the evaluate stage"):
        per_image.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": np.arange(39)}, r"ids is int64 \(39,\), expected int64 \(40,\)"),
        ({"labels": np.full(40, 2)}, "a label is neither 0 nor 1"),
        ({"int8_baseline": np.zeros((1, 40, 2), np.int16)}, "int8_baseline is int16"),
        ({"fp32_early_exit": np.zeros((2, 40, 2), np.float32)}, r"fp32_early_exit is float32 \(2, 40, 2\), expected"),
        ({"fp32_baseline": np.zeros((1, 40, 3), np.float32)}, "fp32_baseline is"),
        ({"int8_early_exit": np.zeros((0, 40, 2), np.int8)}, r"fp32_early_exit is float32 \(3, 40, 2\), expected"),
    ],
)
def test_tensors_of_another_shape_or_type(
    tmp_path: Path, found: Evaluation, change: dict[str, np.ndarray], message: str
) -> None:
    path = tmp_path / "val.safetensors"
    save_file(vars(found) | change, path)
    with pytest.raises(ValueError, match=rf"val\.safetensors: {message}.*rerun the evaluate stage"):
        per_image.load(path)


def test_report_has_every_classifier_before_and_after_quantization(found: Evaluation) -> None:
    report = per_image.report(found)
    assert list(report) == ["n", "baseline", "exit1", "exit2", "final"]
    assert report["n"] == 40
    expected = {
        "baseline": (found.fp32_baseline[0], found.int8_baseline[0]),
        **{
            name: (found.fp32_early_exit[i], found.int8_early_exit[i])
            for i, name in enumerate(("exit1", "exit2", "final"))
        },
    }
    for name, pair in expected.items():
        assert list(report[name]) == ["fp32", "int8"]
        for cell, logits in zip(report[name].values(), pair, strict=True):
            share = np.mean([int(b > a) == label for (a, b), label in zip(logits, found.labels, strict=True)])
            assert cell["value"] == pytest.approx(share)
            assert cell["n"] == 40
            assert cell["low"] < share < cell["high"]
