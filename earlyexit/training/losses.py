"""The training loss of a network with several classifiers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


@dataclass(frozen=True)
class Distillation:
    """Learning from a teacher's answers beside the labels (Hinton et al. 2015, "Distilling the Knowledge").

    Attributes:
        share: of the loss that follows the teacher, 0 to 1; the labels get the rest.
        temperature: both sides' logits are divided by it.
        teacher: maps a batch's inputs to its logits, (N, classes), without gradient.
    """

    share: float
    temperature: float
    teacher: Callable[[Any], Tensor]


def weighted_loss(
    logits: Sequence[Tensor],
    labels: Tensor,
    weights: Sequence[float],
    taught: Tensor | None = None,
    share: float = 0,
    temperature: float = 1,
    count: int | None = None,
) -> Tensor:
    """Return the weighted sum of the classifiers' losses: Eq. 1 of the paper, distilled where `taught` is given.

    Args:
        logits: of each classifier, (N, classes).
        labels: (N,), int64.
        weights: one a classifier, in the same order; a classifier of weight 0 is left out of the graph.
        taught: the teacher's logits, (N, classes), or None: labels alone.
        share, temperature: see `Distillation`.
        count: images that the mean is taken over, where these are a part of a batch; None: these are all.

    Raises:
        ValueError: not one weight a classifier, or all are 0.
    """
    if len(logits) != len(weights):
        raise ValueError(f"{len(weights)} loss weights for {len(logits)} classifiers")
    if not any(weights):
        raise ValueError("the loss weights are all 0: nothing would be trained")
    count = len(labels) if count is None else count
    weighted = [(w, z) for z, w in zip(logits, weights, strict=True) if w > 0]
    losses = [w * (F.cross_entropy(z, labels, reduction="sum") / count) for w, z in weighted]
    if taught is None:
        return sum(losses[1:], losses[0])
    distances = [w * distance(z, taught, temperature, count) for w, z in weighted]
    return (1 - share) * sum(losses[1:], losses[0]) + share * sum(distances[1:], distances[0])


def distance(logits: Tensor, taught: Tensor, temperature: float, count: int) -> Tensor:
    """Return the Kullback-Leibler divergence of the softened answers from the teacher's, times the temperature squared.

    The mean over `count` images; fewer may be given, see `weighted_loss`.
    The factor keeps the gradient's size when the temperature changes (Hinton et al. 2015, Section 2.1).
    """
    student = torch.log_softmax(logits / temperature, 1)
    teacher = torch.log_softmax(taught / temperature, 1)
    return F.kl_div(student, teacher, reduction="sum", log_target=True) / count * temperature**2
