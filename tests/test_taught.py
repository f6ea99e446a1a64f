from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from earlyexit import taught
from earlyexit.common.files import write_json
from earlyexit.dataset import PackedSplit

IDS = np.array([3, 5, 9])
LOG_ODDS = np.array([-1.5, 0.0, 2.0], np.float32)
SPLIT = PackedSplit(np.zeros((3, 8, 8, 3), np.uint8), np.array([0, 1, 1]), IDS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_json(tmp_path / taught.FACTS, {"model": "a.tflite", "kind": "int8"})
    taught.save(tmp_path, "train", IDS, LOG_ODDS)
    return tmp_path


def test_what_was_saved_is_read(folder: Path) -> None:
    found = taught.taught(folder, SPLIT)
    assert found is not None
    assert found.dtype == np.float32
    assert np.array_equal(found, LOG_ODDS)
    answers = taught.read(folder, "train", IDS)
    assert answers is not None
    assert (answers.kind, answers.labels().tolist()) == ("int8", [0, 0, 1])


def test_the_same_answers_are_the_same_bytes(folder: Path) -> None:
    before = (folder / "train.safetensors").read_bytes()
    taught.save(folder, "train", IDS, LOG_ODDS)
    assert (folder / "train.safetensors").read_bytes() == before


def test_without_a_teacher_there_is_nothing(tmp_path: Path) -> None:
    write_json(tmp_path / taught.FACTS, {"model": None})
    assert taught.taught(tmp_path, SPLIT) is None


@pytest.mark.parametrize("ids", [[3, 5, 8], [5, 3, 9]])
def test_answers_to_other_images_are_refused(folder: Path, ids: list[int]) -> None:
    with pytest.raises(ValueError, match=r"train\.safetensors: is of other images .*; run the teach stage again"):
        taught.read(folder, "train", np.array(ids))


@pytest.mark.parametrize(
    "tensors",
    [
        {"ids": IDS},
        {"ids": IDS[:2], "log_odds": LOG_ODDS[:2]},
        {"ids": IDS, "log_odds": LOG_ODDS.astype(np.float64)},
        {"ids": IDS, "log_odds": LOG_ODDS, "more": LOG_ODDS},
    ],
)
def test_another_content_is_refused(folder: Path, tensors: dict[str, np.ndarray]) -> None:
    save_file(tensors, folder / "train.safetensors")
    with pytest.raises(ValueError, match=r"train\.safetensors: does not hold ids and log_odds of 3 images; run the"):
        taught.taught(folder, SPLIT)


def test_answers_that_are_not_finite_are_refused(folder: Path) -> None:
    taught.save(folder, "train", IDS, np.array([0, np.nan, 1], np.float32))
    with pytest.raises(ValueError, match=r"train\.safetensors: holds NaN or infinite log_odds; run the teach stage"):
        taught.taught(folder, SPLIT)


@pytest.mark.parametrize("facts", [[], {}, {"model": "a.tflite"}, {"model": "a.tflite", "kind": "int4"}])
def test_facts_of_another_kind_are_refused(folder: Path, facts: object) -> None:
    write_json(folder / taught.FACTS, facts)
    with pytest.raises(ValueError, match=r"teacher\.json: .*; run the teach stage again"):
        taught.taught(folder, SPLIT)


@pytest.mark.parametrize("name", [taught.FACTS, "train.safetensors"])
def test_a_missing_or_damaged_file_is_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"{")
    with pytest.raises(ValueError, match=name):
        taught.taught(folder, SPLIT)
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        taught.taught(folder, SPLIT)
