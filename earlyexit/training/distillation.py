"""Teachers: whose logits a training follows, beside the labels (Hinton et al. 2015, "Distilling the Knowledge")."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from earlyexit.training.batches import Batch
from earlyexit.training.recipe import DistilledRecipe

Teacher = Callable[[Batch], Tensor]
"""Maps a batch to logits, (N, classes), without gradient."""


@dataclass(frozen=True)
class Distillation:
    """How much of the loss follows which teacher; the rest follows the labels.

    Attributes:
        temperature: both sides' logits are divided by it.
        teachers: shares of the loss, at most 1 together, each with its teacher.
    """

    temperature: float
    teachers: Sequence[tuple[float, Teacher]]

    def taught(self, batch: Batch) -> list[tuple[float, Tensor]]:
        """Return each teacher's share of the loss and its logits for the batch, (N, classes)."""
        return [(share, teacher(batch)) for share, teacher in self.teachers]


@dataclass(frozen=True)
class Taught:
    """The answers of a bigger network, computed before training.

    Attributes:
        log_odds: of a person, for each training image; float32.
        share: of what Stage A and Stage B distill, how much follows these answers; the rest follows the final
            classifier of the network itself.
    """

    log_odds: NDArray[np.float32]
    share: float

    def summary(self) -> str:
        """Return a text that other answers or another share do not have."""
        return f"{hashlib.sha256(self.log_odds.tobytes()).hexdigest()}, share {self.share:g}"

    def logits(self, device: torch.device) -> Tensor:
        """Return the answers as logits, (images, 2)."""
        person = torch.tensor(self.log_odds, device=device)
        return torch.stack([torch.zeros_like(person), person], 1)


def distillation(recipe: DistilledRecipe, taught: Taught | None, own: Teacher | None = None) -> Distillation | None:
    """Return how a training distills, or None where it learns from the labels alone.

    Args:
        recipe: the share of the loss that follows teachers, and their temperature.
        taught: answers of a bigger network; batches hold them.
        own: the final classifier of the network itself, where it can be a teacher.
    """
    given = 0.0 if taught is None else 1.0 if own is None else taught.share
    shares = [(recipe.distill * given, _given), (recipe.distill * (1 - given), own)]
    teachers = [(share, teacher) for share, teacher in shares if share and teacher is not None]
    return Distillation(recipe.temperature, teachers) if teachers else None


def _given(batch: Batch) -> Tensor:
    assert batch.taught is not None
    return batch.taught
