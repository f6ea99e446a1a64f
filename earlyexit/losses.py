"""The training loss of a network with several classifiers."""

from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def weighted_loss(logits: Sequence[Tensor], labels: Tensor, weights: Sequence[float]) -> Tensor:
    """Return the weighted sum of the classifiers' cross-entropies: Eq. 1 of the paper.

    Args:
        logits: of each classifier, (N, classes).
        labels: (N,), int64.
        weights: one a classifier, in the same order; a classifier of weight 0 is left out of the graph.

    Raises:
        ValueError: not one weight a classifier, or all are 0.
    """
    if len(logits) != len(weights):
        raise ValueError(f"{len(weights)} loss weights for {len(logits)} classifiers")
    if not any(weights):
        raise ValueError("the loss weights are all 0: nothing would be trained")
    losses = [w * F.cross_entropy(z, labels) for z, w in zip(logits, weights, strict=True) if w > 0]
    return sum(losses[1:], losses[0])
