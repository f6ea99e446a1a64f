"""The training loss of a network with several classifiers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


@dataclass(frozen=True)
class Distillation:
    """Learning from a teacher's logits and from the labels (Hinton et al. 2015, "Distilling the Knowledge").

    Attributes:
        share: weight of the distance from the teacher, 0 to 1; the loss by labels has weight 1 - share.
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
    """Return the weighted sum of the classifiers' losses (Eq. 1 of the paper), with distillation if `taught` is given.

    Args:
        logits: of each classifier, (N, classes).
        labels: (N,), int64.
        weights: one per classifier, in the same order; a classifier with weight 0 gets no gradient.
        taught: the teacher's logits, (N, classes); None: no distillation.
        share, temperature: see `Distillation`.
        count: images of the whole batch, over which the mean is taken; None: N.

    Raises:
        ValueError: the number of weights is not that of the classifiers, or all are 0.
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
    """Return the Kullback-Leibler divergence from the teacher, both softened by `temperature`, times its square.

    The sum over the N images is divided by `count`, see `weighted_loss`. The square keeps the size of the gradient when
    the temperature changes (Hinton et al. 2015, Section 2.1).
    """
    student = torch.log_softmax(logits / temperature, 1)
    teacher = torch.log_softmax(taught / temperature, 1)
    return F.kl_div(student, teacher, reduction="sum", log_target=True) / count * temperature**2
