import os
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from earlyexit.common.pixels import Normalization
from earlyexit.dataset import PackedSplit
from earlyexit.packing.decode import decode
from earlyexit.packing.stored import Stored
from earlyexit.teaching import teach as teaching
from earlyexit.teaching.classifier import Classifier
from earlyexit.teaching.log_odds import log_odds
from earlyexit.teaching.teach import Teacher, open_teacher, teach
from tests import tiny_network
from tests.teaching import models, photographs

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


def opened(folder: Path, content: bytes, some: Sequence[Stored], person: int = 1) -> Teacher:
    """As `open_teacher` does, without the process of its own, which takes seconds."""
    return teaching._try(written(folder, content), person, PIXELS, some[: teaching.PROBE])


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> list[Stored]:
    return photographs.write(tmp_path_factory.mktemp("raw"), "train", photographs.lossless(SPLIT))


def blackened(folder: Path, which: int | slice) -> list[Stored]:
    """The photographs, some of them black, with ids from 1000."""
    images = np.array(SPLIT.images)
    images[which] = 0
    files = photographs.lossless(PackedSplit(images, SPLIT.labels, SPLIT.ids + 1000))
    return photographs.write(folder / "raw", "train", files)


def test_a_teacher_is_what_its_file_says(tmp_path: Path, shown: list[Stored]) -> None:
    teacher = open_teacher(written(tmp_path, models.onnx_bytes(3, softmax=True)), 2, PIXELS, shown)
    assert teacher == opened(tmp_path, models.onnx_bytes(3, softmax=True), shown, 2)
    facts = teacher.facts()
    assert (facts["model"], facts["kind"], facts["classes"]) == ("model.onnx", "fp32", 3)
    assert (facts["height"], facts["width"], facts["answers"]) == (models.HEIGHT, models.WIDTH, "probabilities")


def test_a_model_that_kills_its_process_ends_in_one_line(tmp_path: Path, shown: list[Stored]) -> None:
    path = written(tmp_path, models.onnx_bytes())
    with pytest.raises(ValueError, match=r"teacher\.model: .*model\.onnx: the process that ran it was killed"):
        open_teacher(path, 1, Killing(offset=0, divisor=255), shown)


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("person", [0, 2])
def test_the_answers_are_those_of_every_photograph_in_order(
    tmp_path: Path, shown: list[Stored], softmax: bool, person: int
) -> None:
    content = models.onnx_bytes(3, softmax=softmax)
    teacher = opened(tmp_path, content, shown, person)
    found = teach(teacher, shown, tmp_path / "kept", "title", 1)
    classifier = Classifier(tmp_path / "model.onnx", PIXELS)
    files = photographs.lossless(SPLIT)
    outputs = np.stack([classifier(decode(file.content, 16, 16, models.WIDTH)) for file in files])
    expected = log_odds(outputs, person, "probabilities" if softmax else "logits", 0)
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)


def test_the_number_of_processes_changes_no_byte(tmp_path: Path, shown: list[Stored]) -> None:
    teacher = opened(tmp_path, models.onnx_bytes(3), shown)
    found = [teach(teacher, shown, tmp_path / f"kept{count}", "title", count).tobytes() for count in (1, 2)]
    assert found[0] == found[1]


def test_finished_chunks_are_not_computed_again(
    tmp_path: Path, shown: list[Stored], monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = opened(tmp_path, models.onnx_bytes(3), shown)
    whole = teach(teacher, shown, tmp_path / "undisturbed", "title", 1)
    kept, original = tmp_path / "kept", teaching._chunk
    computed: list[int] = []

    def interrupted(*args: object) -> object:
        if len(computed) == 2:
            raise KeyboardInterrupt
        computed.append(len(args[1]))  # type: ignore[arg-type]
        return original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(teaching, "_chunk", interrupted)
    with pytest.raises(KeyboardInterrupt):
        teach(teacher, shown, kept, "title", 1)
    assert (computed, len(list(kept.iterdir()))) == ([32, 32], 2)
    computed.clear()
    assert teach(teacher, shown, kept, "title", 1).tobytes() == whole.tobytes()
    assert computed == [6]
    computed.clear()
    assert teach(teacher, shown, kept, "title", 1).tobytes() == whole.tobytes()
    assert computed == []


@pytest.mark.parametrize("other", ["model", "person", "pixels", "images"])
def test_chunks_of_another_cause_are_not_taken(tmp_path: Path, shown: list[Stored], other: str) -> None:
    teacher = opened(tmp_path, models.onnx_bytes(3), shown)
    teach(teacher, shown, tmp_path / "kept", "title", 1)
    asked = shown
    if other == "images":
        files = photographs.lossless(tiny_network.dark_and_bright(70, 16, seed=1))
        asked = photographs.write(tmp_path / "raw", "train", files)
    if other == "model":
        teacher = opened(tmp_path, models.onnx_bytes(3, scale=2.0), shown)
    elif other == "person":
        teacher = opened(tmp_path, models.onnx_bytes(3), shown, 0)
    elif other == "pixels":
        teacher = teaching._try(tmp_path / "model.onnx", 1, Normalization(offset=1, divisor=255), shown[:32])
    found = teach(teacher, asked, tmp_path / "kept", "title", 1)
    assert found.tobytes() == teach(teacher, asked, tmp_path / "empty", "title", 1).tobytes()
    assert len(list((tmp_path / "kept").iterdir())) == 6


def test_a_person_that_is_no_output(tmp_path: Path, shown: list[Stored]) -> None:
    with pytest.raises(ValueError, match=r"^teacher\.person: 3, but .*model\.onnx has 3 outputs, 0 to 2$"):
        opened(tmp_path, models.onnx_bytes(3), shown, 3)


def test_outputs_that_are_neither_probabilities_nor_logits(tmp_path: Path, shown: list[Stored]) -> None:
    with pytest.raises(ValueError, match=r"^teacher\.model: .*model\.onnx: the outputs lie between 0 and 1, but"):
        opened(tmp_path, models.onnx_bytes(3, sigmoid=True), shown)


@pytest.mark.parametrize("image", [0, 60])
def test_an_answer_that_is_not_a_number_names_the_image(tmp_path: Path, image: int) -> None:
    shown = blackened(tmp_path, image)  # 0 / 0
    with pytest.raises(ValueError, match=rf"model\.onnx: its answer to image {1000 + image} is NaN or infinite$"):
        teach(opened(tmp_path, models.onnx_bytes(ratio=True), shown), shown, tmp_path / "kept", "title", 1)


def test_a_later_answer_of_another_kind_names_the_image(tmp_path: Path) -> None:
    shown = blackened(tmp_path, slice(50))  # logits of 0 each, plus biases that are probabilities
    teacher = opened(tmp_path, models.onnx_bytes(3, bias=True), shown)
    assert teacher.reading == "probabilities"
    with pytest.raises(ValueError, match=r"probabilities of a softmax, but not that to image 1050; needed are always"):
        teach(teacher, shown, tmp_path / "kept", "title", 1)


def test_a_model_that_changes_while_it_is_used(tmp_path: Path, shown: list[Stored]) -> None:
    teacher = opened(tmp_path, models.onnx_bytes(3), shown)
    written(tmp_path, models.onnx_bytes(3, scale=3.0))
    with pytest.raises(ValueError, match=r"model\.onnx: was changed while it was used; run the teach stage again"):
        teach(teacher, shown, tmp_path / "kept", "title", 1)
