import os
import signal
from pathlib import Path

import numpy as np
import pytest

from earlyexit.common.pixels import Normalization
from earlyexit.dataset import PackedSplit
from earlyexit.teaching import teach as teaching
from earlyexit.teaching.classifier import Classifier
from earlyexit.teaching.log_odds import log_odds
from earlyexit.teaching.teach import Teacher, open_teacher, teach
from tests import tiny_network
from tests.teaching import models

PIXELS = Normalization(offset=0, divisor=255)
SPLIT = tiny_network.dark_and_bright(70, 16)


class Killing(Normalization):
    def images(self, images: np.ndarray) -> np.ndarray:
        os.kill(os.getpid(), signal.SIGKILL)
        return images


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teaching, "CHUNK", 32)


def written(folder: Path, content: bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(content)
    return path


def opened(folder: Path, content: bytes, person: int = 1, split: PackedSplit = SPLIT) -> Teacher:
    """As `open_teacher` does, without the process of its own, which takes seconds."""
    return teaching._try(written(folder, content), person, PIXELS, split)


def nan_from(image: int, folder: Path) -> tuple[bytes, PackedSplit]:
    """A model whose answer to one image is not a number: an image of zeros gives 0 / 0."""
    images = np.array(SPLIT.images)
    images[image] = 0
    return models.onnx_bytes(ratio=True), PackedSplit(images, SPLIT.labels, SPLIT.ids + 1000)


def test_a_teacher_is_what_its_file_says(tmp_path: Path) -> None:
    teacher = open_teacher(written(tmp_path, models.onnx_bytes(3, softmax=True)), 2, PIXELS, SPLIT)
    assert teacher == opened(tmp_path, models.onnx_bytes(3, softmax=True), 2)
    facts = teacher.facts()
    assert (facts["model"], facts["kind"], facts["classes"]) == ("model.onnx", "fp32", 3)
    assert (facts["height"], facts["width"], facts["answers"]) == (models.HEIGHT, models.WIDTH, "probabilities")


def test_a_model_that_kills_its_process_ends_in_one_line(tmp_path: Path) -> None:
    path = written(tmp_path, models.onnx_bytes())
    with pytest.raises(ValueError, match=r"teacher\.model: .*model\.onnx: the process that ran it was killed"):
        open_teacher(path, 1, Killing(offset=0, divisor=255), SPLIT)


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("person", [0, 2])
def test_the_answers_are_those_of_every_image_in_order(tmp_path: Path, softmax: bool, person: int) -> None:
    content = models.onnx_bytes(3, softmax=softmax)
    teacher = opened(tmp_path, content, person)
    found = teach(teacher, SPLIT, tmp_path / "kept", "title", 1)
    classifier = Classifier(tmp_path / "model.onnx", PIXELS)
    outputs = np.stack([classifier(image) for image in SPLIT.images])
    expected = log_odds(outputs, person, "probabilities" if softmax else "logits", 0)
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)


def test_the_number_of_processes_changes_no_byte(tmp_path: Path) -> None:
    teacher = opened(tmp_path, models.onnx_bytes(3))
    found = [teach(teacher, SPLIT, tmp_path / f"kept{count}", "title", count).tobytes() for count in (1, 2)]
    assert found[0] == found[1]


def test_finished_chunks_are_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = opened(tmp_path, models.onnx_bytes(3))
    whole = teach(teacher, SPLIT, tmp_path / "undisturbed", "title", 1)
    kept, original = tmp_path / "kept", teaching._chunk
    computed: list[int] = []

    def interrupted(*args: object) -> object:
        if len(computed) == 2:
            raise KeyboardInterrupt
        computed.append(len(args[1]))  # type: ignore[arg-type]
        return original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(teaching, "_chunk", interrupted)
    with pytest.raises(KeyboardInterrupt):
        teach(teacher, SPLIT, kept, "title", 1)
    assert (computed, len(list(kept.iterdir()))) == ([32, 32], 2)
    computed.clear()
    assert teach(teacher, SPLIT, kept, "title", 1).tobytes() == whole.tobytes()
    assert computed == [6]
    computed.clear()
    assert teach(teacher, SPLIT, kept, "title", 1).tobytes() == whole.tobytes()
    assert computed == []


@pytest.mark.parametrize("other", ["model", "person", "pixels", "images"])
def test_chunks_of_another_cause_are_not_taken(tmp_path: Path, other: str) -> None:
    teacher = opened(tmp_path, models.onnx_bytes(3))
    teach(teacher, SPLIT, tmp_path / "kept", "title", 1)
    split = tiny_network.dark_and_bright(70, 16, seed=1) if other == "images" else SPLIT
    if other == "model":
        teacher = opened(tmp_path, models.onnx_bytes(3, scale=2.0))
    elif other == "person":
        teacher = opened(tmp_path, models.onnx_bytes(3), 0)
    elif other == "pixels":
        teacher = teaching._try(tmp_path / "model.onnx", 1, Normalization(offset=1, divisor=255), SPLIT)
    found = teach(teacher, split, tmp_path / "kept", "title", 1)
    assert found.tobytes() == teach(teacher, split, tmp_path / "empty", "title", 1).tobytes()
    assert len(list((tmp_path / "kept").iterdir())) == 6


def test_a_person_that_is_no_output(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^teacher\.person: 3, but .*model\.onnx has 3 outputs, 0 to 2$"):
        opened(tmp_path, models.onnx_bytes(3), 3)


def test_outputs_that_are_neither_probabilities_nor_logits(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^teacher\.model: .*model\.onnx: the outputs lie between 0 and 1, but"):
        opened(tmp_path, models.onnx_bytes(3, sigmoid=True))


@pytest.mark.parametrize("image", [0, 60])
def test_an_answer_that_is_not_a_number_names_the_image(tmp_path: Path, image: int) -> None:
    content, split = nan_from(image, tmp_path)
    with pytest.raises(ValueError, match=rf"model\.onnx: its answer to image {1000 + image} is NaN or infinite$"):
        teach(opened(tmp_path, content, split=head(split)), split, tmp_path / "kept", "title", 1)


def head(split: PackedSplit) -> PackedSplit:
    return PackedSplit(split.images[:32], split.labels[:32], split.ids[:32])


def test_a_later_answer_of_another_kind_names_the_image(tmp_path: Path) -> None:
    images = np.array(SPLIT.images)
    images[:50] = 0  # logits of 0 each, plus biases that are probabilities
    split = PackedSplit(images, SPLIT.labels, SPLIT.ids + 1000)
    teacher = opened(tmp_path, models.onnx_bytes(3, bias=True), split=head(split))
    assert teacher.reading == "probabilities"
    with pytest.raises(ValueError, match=r"probabilities of a softmax, but not that to image 1050; needed are always"):
        teach(teacher, split, tmp_path / "kept", "title", 1)


def test_a_model_that_changes_while_it_is_used(tmp_path: Path) -> None:
    teacher = opened(tmp_path, models.onnx_bytes(3))
    written(tmp_path, models.onnx_bytes(3, scale=3.0))
    with pytest.raises(ValueError, match=r"model\.onnx: was changed while it was used; run the teach stage again"):
        teach(teacher, SPLIT, tmp_path / "kept", "title", 1)
