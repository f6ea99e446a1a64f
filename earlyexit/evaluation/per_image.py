"""Logits of every classifier on every val image: computed once, read by all reports."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as serialize

from earlyexit.evaluation.statistics import accuracy
from earlyexit.policy import decision
from earlyexit.task import CLASSES


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
    """Write `evaluation` as safetensors.

    Raises:
        ValueError: a shape or a type is wrong, or a logit is NaN or infinite; names the array.
    """
    _check(evaluation)
    path.write_bytes(serialize({name: np.ascontiguousarray(value) for name, value in vars(evaluation).items()}))


def load(path: Path) -> Evaluation:
    """Read what `save` wrote.

    Raises:
        FileNotFoundError, ValueError: the file is missing or not valid; names the file and the fault.
    """
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error})") from error
    expected = {field.name for field in fields(Evaluation)}
    if tensors.keys() != expected:
        raise ValueError(f"{path}: holds {sorted(tensors)}, not {sorted(expected)}; rerun the evaluate stage")
    evaluation = Evaluation(**tensors)
    try:
        _check(evaluation)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; rerun the evaluate stage") from None
    return evaluation


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


def int8_accuracies(evaluation: Evaluation) -> dict[str, float]:
    """Return the accuracy of each classifier of the INT8 early-exit network on val, by name."""
    return {name: entry["int8"]["value"] for name, entry in report(evaluation).items() if name not in ("n", "baseline")}


def _check(evaluation: Evaluation) -> None:
    n, classifiers = len(evaluation.labels), len(evaluation.int8_early_exit)
    for name, array in vars(evaluation).items():
        vector, early_exit = name in ("ids", "labels"), name.endswith("early_exit")
        shape = (n,) if vector else (classifiers if early_exit else 1, n, 2)
        dtype = np.int64 if vector else np.float32 if name.startswith("fp32") else np.int8
        if array.shape != shape or array.dtype != dtype or array.size == 0:
            raise ValueError(f"{name} is {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}, not empty")
        if not vector and not (finite := np.isfinite(array).all((1, 2))).all():
            bad = np.flatnonzero(~finite)[0]
            count = int((~np.isfinite(array[bad]).all(1)).sum())
            raise ValueError(f"{name}: classifier {bad + 1} has NaN or infinite logits on {count} of {n} images")
    if not np.isin(evaluation.labels, range(len(CLASSES))).all():
        raise ValueError("a label is neither 0 nor 1")


def _accuracy(logits: np.ndarray, evaluation: Evaluation) -> dict[str, float]:
    return asdict(accuracy(decision.labels(logits), evaluation.labels))
