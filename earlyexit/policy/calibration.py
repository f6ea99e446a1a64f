"""What every classifier says of the images that exit policies are chosen on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from earlyexit.common.files import replacing


@dataclass(frozen=True)
class Calibration:
    """Logits and labels of N images.

    Attributes:
        logits: INT8 (classifiers, N, 2), the final classifier's last.
        truth: labels, int64 (N,), or None if they are unknown.
        source: what the images are, for reports.
    """

    logits: np.ndarray
    truth: np.ndarray | None
    source: str = "the calibration split"


def save(path: Path | str, logits: np.ndarray, truth: np.ndarray) -> None:
    """Write the logits and labels of the calibration split."""
    with replacing(path) as file:
        save_file({"logits": np.ascontiguousarray(logits), "labels": np.asarray(truth, np.int64)}, file)


def load(path: Path | str) -> Calibration:
    """Read what `save` wrote.

    Raises:
        FileNotFoundError, ValueError: the file is missing or not valid; names the file.
    """
    try:
        tensors = load_file(path)
        return Calibration(tensors["logits"], tensors["labels"])
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path}: not a file of calibration logits ({error}); rerun the calibrate stage") from error
