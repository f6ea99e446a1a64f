"""The training loss of a network with several classifiers."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def weighted_loss(
    logits: Sequence[Tensor],
    labels: Tensor,
    weights: Sequence[float],
    taught: Sequence[tuple[float, Tensor]] = (),
    temperature: float = 1,
    count: int | None = None,
) -> Tensor:
    """Return the weighted sum of the classifiers' losses (Eq. 1 of the paper), each from labels and teachers.

    Args:
        logits: of each classifier, (N, classes).
        labels: (N,), int64.
        weights: one per classifier, in the same order; a classifier with weight 0 gets no gradient.
        taught: the share of each teacher, at most 1 together, and its logits, (N, classes). The labels have the rest.
        temperature: see `distance`.
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
    loss = _sum([w * (F.cross_entropy(z, labels, reduction="sum") / count) for w, z in weighted])
    if taught:
        loss = (1 - sum(share for share, _ in taught)) * loss
    for share, answers in taught:
        loss = loss + share * _sum([w * distance(z, answers, temperature, count) for w, z in weighted])
    return loss


def distance(logits: Tensor, taught: Tensor, temperature: float, count: int) -> Tensor:
    """Return the Kullback-Leibler divergence from the teacher, both softened by `temperature`, times its square.

    The sum over the N images is divided by `count`, see `weighted_loss`. The square keeps the size of the gradient when
    the temperature changes (Hinton et al. 2015, Section 2.1).
    """
    student = torch.log_softmax(logits / temperature, 1)
    teacher = torch.log_softmax(taught / temperature, 1)
    return F.kl_div(student, teacher, reduction="sum", log_target=True) / count * temperature**2


def _sum(terms: Sequence[Tensor]) -> Tensor:
    return sum(terms[1:], terms[0])
