"""Per-image logits of every classifier on the val split: computed once, read by everything that reports."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from earlyexit import policy
from earlyexit.statistics import accuracy


@dataclass(frozen=True)
class Evaluation:
    """Logits of N images.

    Attributes:
        ids: COCO image ids, int64 (N,), ascending.
        labels: int64 (N,).
        fp32_baseline, int8_baseline: (1, N, 2), float32 and int8.
        fp32_early_exit, int8_early_exit: (classifiers, N, 2), float32 and int8, the final classifier's last.
    """

    ids: np.ndarray
    labels: np.ndarray
    fp32_baseline: np.ndarray
    int8_baseline: np.ndarray
    fp32_early_exit: np.ndarray
    int8_early_exit: np.ndarray


def save(path: Path, evaluation: Evaluation) -> None:
    """Write `evaluation` as safetensors."""
    save_file({name: np.ascontiguousarray(value) for name, value in vars(evaluation).items()}, path)


def load(path: Path) -> Evaluation:
    """Read what `save` wrote.

    Raises:
        FileNotFoundError, ValueError: naming the file and what is wrong with it.
    """
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error})") from error
    expected = {field.name for field in fields(Evaluation)}
    if tensors.keys() != expected:
        raise ValueError(f"{path}: holds {sorted(tensors)}, not {sorted(expected)}; rerun the evaluate stage")
    return Evaluation(**tensors)


def report(evaluation: Evaluation) -> dict[str, Any]:
    """Return the accuracy of every classifier on val, FP32 and INT8, each with n and its 95 % interval."""
    names = [f"exit{i + 1}" for i in range(len(evaluation.int8_early_exit) - 1)] + ["final"]
    return {
        "n": len(evaluation.labels),
        "baseline": {
            "fp32": _accuracy(evaluation.fp32_baseline[0], evaluation),
            "int8": _accuracy(evaluation.int8_baseline[0], evaluation),
        },
        **{
            name: {"fp32": _accuracy(fp32, evaluation), "int8": _accuracy(int8, evaluation)}
            for name, fp32, int8 in zip(names, evaluation.fp32_early_exit, evaluation.int8_early_exit, strict=True)
        },
    }


def _accuracy(logits: np.ndarray, evaluation: Evaluation) -> dict[str, float]:
    return asdict(accuracy(policy.labels(logits), evaluation.labels))
