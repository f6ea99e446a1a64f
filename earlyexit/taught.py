"""What a teacher said of the images: one log-odds of "person" for each, as the trainings and Table I read it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as serialize

from earlyexit.common.files import read_json, replacing
from earlyexit.dataset import PackedSplit

FACTS = "teacher.json"
"""Which model the teacher is, and how often it is right; {"model": null} where there is no teacher."""
Kind = Literal["int8", "fp32"]
_KINDS: tuple[Kind, ...] = ("int8", "fp32")
_AGAIN = "run the teach stage again"


@dataclass(frozen=True)
class Answers:
    """A teacher's answers to N images.

    Attributes:
        kind: whether the teacher is quantized.
        log_odds: of "person" against all else, float32 (N,), finite.
    """

    kind: Kind
    log_odds: NDArray[np.float32]

    def labels(self) -> NDArray[np.int64]:
        """Return the class (N,) of each answer: 1, person, where the log-odds are positive."""
        return (self.log_odds > 0).astype(np.int64)


def taught(folder: Path, split: PackedSplit) -> NDArray[np.float32] | None:
    """Return the teacher's log-odds of "person" for each image of the train split, in its order.

    Args:
        folder: written by the teach stage.
        split: the train split. Of val the stage keeps answers too, for the teacher's accuracy alone.

    Returns:
        float32 (N,); None where there is no teacher.

    Raises:
        FileNotFoundError, ValueError: a file is missing, damaged, or of other images; names it and the stage to run.
    """
    found = read(folder, "train", split.ids)
    return None if found is None else found.log_odds


def read(folder: Path, split: str, ids: NDArray[np.int64]) -> Answers | None:
    """Return the teacher's answers to the images `ids` (N,) of a split; None where there is no teacher.

    Args:
        folder: written by the teach stage.
        split: "train" or "val".
        ids: all ids of the split, in its order.

    Raises:
        FileNotFoundError, ValueError: a file is missing, damaged, or of other images; names it and the stage to run.
    """
    facts = read_json(folder / FACTS)
    if not isinstance(facts, dict) or "model" not in facts:
        raise ValueError(f"{folder / FACTS}: does not say which model the teacher is; {_AGAIN}")
    if facts["model"] is None:
        return None
    if facts.get("kind") not in _KINDS:
        raise ValueError(f"{folder / FACTS}: kind must be int8 or fp32; {_AGAIN}")
    return Answers(facts["kind"], _log_odds(folder / f"{split}.safetensors", ids))


def save(folder: Path, split: str, ids: NDArray[np.int64], log_odds: NDArray[np.float32]) -> None:
    """Write a teacher's answers to the images of a split into `folder`.

    Raises:
        OSError: the disk is full or the folder may not be written; names the file.
    """
    with replacing(folder / f"{split}.safetensors") as part:
        part.write_bytes(serialize({"ids": np.ascontiguousarray(ids), "log_odds": np.ascontiguousarray(log_odds)}))


def _log_odds(path: Path, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    try:
        tensors: dict[str, Any] = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error}); {_AGAIN}") from None
    types = {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
    if types != {"ids": (np.int64, ids.shape), "log_odds": (np.float32, ids.shape)}:
        raise ValueError(f"{path}: does not hold ids and log_odds of {len(ids)} images; {_AGAIN}")
    if not np.array_equal(tensors["ids"], ids):
        raise ValueError(f"{path}: is of other images than the packed split; {_AGAIN}")
    found: NDArray[np.float32] = tensors["log_odds"]
    if not np.isfinite(found).all():
        raise ValueError(f"{path}: holds NaN or infinite log_odds; {_AGAIN}")
    return found
