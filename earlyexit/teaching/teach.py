"""A teacher's log-odds of "person" for the photographs of a split: once, on several cores, and resumable."""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from itertools import repeat
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from earlyexit.common.files import replacing
from earlyexit.common.pixels import Normalization
from earlyexit.common.pool import mapping, workers
from earlyexit.packing.stored import Stored
from earlyexit.taught import Kind
from earlyexit.teaching.classifier import Classifier
from earlyexit.teaching.log_odds import Reading, are_probabilities, log_odds, read_as

CHUNK = 256
"""Photographs whose answers are kept together when the stage is interrupted."""
PROBE = 32
"""Photographs that show whether a classifier answers with probabilities or logits."""
PACKAGES = ("ai-edge-litert", "numpy", "onnxruntime", "torch", "torchvision")


@dataclass(frozen=True)
class Teacher:
    """A classifier that has been tried, and how its answers are read.

    Attributes:
        path: of its file.
        sha256: of the file, with the weights that an .onnx file keeps in files beside it.
        quantized: whether it takes bytes.
        height, width: of its input, in pixels.
        classes: that it knows.
        person: the class that says person.
        offset, divisor: of a float input.
        reading: what its outputs are.
        step: between two values of a quantized output; 0 for a float one.
    """

    path: Path
    sha256: str
    quantized: bool
    height: int
    width: int
    classes: int
    person: int
    offset: float
    divisor: float
    reading: Reading
    step: float

    @property
    def pixels(self) -> Normalization:
        """The normalization of a float input."""
        return Normalization(offset=self.offset, divisor=self.divisor)

    @property
    def kind(self) -> Kind:
        """Whether the teacher is quantized."""
        return "int8" if self.quantized else "fp32"

    def facts(self) -> dict[str, Any]:
        """Return what the teacher is, as JSON values; "model" is the name of the file."""
        return {
            "model": self.path.name,
            "sha256": self.sha256,
            "kind": self.kind,
            "height": self.height,
            "width": self.width,
            "classes": self.classes,
            "person": self.person,
            "answers": self.reading,
        }


def open_teacher(path: Path, person: int, pixels: Normalization, photographs: Sequence[Stored]) -> Teacher:
    """Try the classifier of a file on the first photographs of the train split; return what it is.

    It is tried in a process of its own: on a damaged file LiteRT can crash.

    Args:
        path: a .tflite or .onnx file, see `Classifier`.
        person: the number of the output that says person, from 0.
        pixels: the normalization of a float model's input.
        photographs: of the train split.

    Raises:
        FileNotFoundError, ValueError: the file is no such classifier, or an answer is not finite; one line that names
            teacher.model or teacher.person, and the file.
    """
    with workers(1, _one_thread) as pool:
        try:
            return pool.submit(_try, path, person, pixels, photographs[:PROBE]).result()
        except BrokenProcessPool:
            raise ValueError(
                f"teacher.model: {path}: the process that ran it was killed: the file is damaged, or memory ran out"
            ) from None


def teach(teacher: Teacher, photographs: Sequence[Stored], kept: Path, title: str, count: int) -> NDArray[np.float32]:
    """Return the teacher's log-odds of "person" for each photograph of a split, float32 (N,).

    The teacher sees the photographs at its own size, not as they are packed. The number of processes changes no byte.

    Args:
        teacher: from `open_teacher`.
        photographs: of the split.
        kept: the folder for finished chunks. A chunk found there is taken if it is of the same teacher, photographs and
            versions; the caller removes the folder when all is written.
        title: of the progress bar.
        count: the number of processes.

    Raises:
        ValueError: an answer is not finite, or not of the kind that the first ones were; names the image.
        OSError: a worker was killed, or the disk is full.
    """
    chunks = [photographs[start : start + CHUNK] for start in range(0, len(photographs), CHUNK)]
    files = [kept / f"{_key(teacher, chunk)}.npy" for chunk in chunks]
    missing = [(chunk, file) for chunk, file in zip(chunks, files, strict=True) if not file.is_file()]
    done = len(photographs) - sum(len(chunk) for chunk, _ in missing)
    with tqdm(total=len(photographs), initial=done, desc=title, unit="image", mininterval=1) as bar:
        if missing:
            _fill(teacher, missing, count, bar)
    return np.concatenate([np.load(file, allow_pickle=False) for file in files])


def _fill(
    teacher: Teacher, missing: Sequence[tuple[Sequence[Stored], Path]], count: int, bar: "tqdm[NoReturn]"
) -> None:
    chunks = [chunk for chunk, _ in missing]
    with mapping(min(count, len(missing)), _one_thread) as run:
        for (_, file), found in zip(missing, run(_chunk, repeat(teacher), chunks), strict=False):
            with replacing(file) as part:
                np.save(part, found)
            bar.update(len(found))


def _key(teacher: Teacher, photographs: Sequence[Stored]) -> str:
    """Return a name for the answers to a chunk of photographs, other for any other cause of them."""
    facts = {**asdict(teacher), "path": teacher.path.suffix, **{name: version(name) for name in PACKAGES}}
    files = [(one.width, one.height, one.member.size, one.member.crc) for one in photographs]
    return hashlib.sha256(json.dumps([facts, files], sort_keys=True).encode()).hexdigest()


def _try(path: Path, person: int, pixels: Normalization, some: Sequence[Stored]) -> Teacher:
    classifier = Classifier(path, pixels)
    outputs = _outputs(path, classifier, some)
    classes = outputs.shape[1]
    if person >= classes:
        raise ValueError(f"teacher.person: {person}, but {path} has {classes} outputs, 0 to {classes - 1}")
    try:
        reading = read_as(outputs, classifier.step)
    except ValueError as error:
        raise ValueError(f"teacher.model: {path}: {error}") from None
    return Teacher(
        path,
        classifier.sha256,
        classifier.quantized,
        classifier.height,
        classifier.width,
        classes,
        person,
        pixels.offset,
        pixels.divisor,
        reading,
        classifier.step,
    )


def _chunk(teacher: Teacher, photographs: Sequence[Stored]) -> NDArray[np.float32]:
    outputs = _outputs(teacher.path, _opened(teacher), photographs)
    if teacher.reading == "probabilities":
        odd = np.flatnonzero(~are_probabilities(outputs, teacher.step))
        if len(odd):
            raise ValueError(
                f"teacher.model: {teacher.path}: its answers are probabilities of a softmax, but not that to image "
                f"{photographs[odd[0]].id}; needed are always probabilities, or always logits"
            )
    return log_odds(outputs, teacher.person, teacher.reading, teacher.step)


@cache
def _opened(teacher: Teacher) -> Classifier:
    classifier = Classifier(teacher.path, teacher.pixels)
    if classifier.sha256 != teacher.sha256:
        raise ValueError(f"teacher.model: {teacher.path}: was changed while it was used; run the teach stage again")
    return classifier


def _outputs(path: Path, classifier: Classifier, photographs: Sequence[Stored]) -> NDArray[np.float32]:
    resolution = max(classifier.height, classifier.width)
    outputs = np.stack([classifier(one.pixels(resolution)) for one in photographs])
    odd = np.flatnonzero(~np.isfinite(outputs).all(1))
    if len(odd):
        raise ValueError(f"teacher.model: {path}: its answer to image {photographs[odd[0]].id} is NaN or infinite")
    return outputs


def _one_thread() -> None:
    torch.set_num_threads(1)
