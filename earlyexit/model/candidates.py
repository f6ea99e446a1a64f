"""The answers of candidate exits to held-out images, and the file that holds them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save

from earlyexit.common.files import replacing

_FINAL, _LABELS = "final", "labels"


@dataclass(frozen=True)
class Candidates:
    """Candidate exits, and the answers that they and the final classifier give to held-out images.

    Attributes:
        logits: of each kind of head the logits of its candidates, float32 (blocks, N, 2).
        final: logits of the final classifier, float32 (N, 2).
        labels: of the images, int64 (N,).
    """

    logits: dict[str, np.ndarray]
    final: np.ndarray
    labels: np.ndarray

    def save(self, path: Path | str) -> None:
        """Write them as a safetensors file."""
        with replacing(path) as part:
            part.write_bytes(save({**self.logits, _FINAL: self.final, _LABELS: self.labels}))

    @classmethod
    def load(cls, path: Path | str) -> "Candidates":
        """Read what `save` wrote."""
        tensors = load_file(path)
        final, labels = tensors.pop(_FINAL), tensors.pop(_LABELS)
        return cls(tensors, final, labels)
