"""Train an exit of each kind after every block of a frozen baseline, and take their logits on held-out images.

Block after block, the features of all images are computed from those of the block before, and all heads of the block
are trained on them together. So every block is computed once, and no more than two blocks' features are in memory.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from earlyexit.dataset import PackedSplit
from earlyexit.model.architecture import Head
from earlyexit.model.candidates import Candidates
from earlyexit.model.inference import BATCH, normalized_batches, predict
from earlyexit.model.network import EarlyExitNetwork, exit_head
from earlyexit.training.batches import FeatureBatches, fits_in_memory, joined
from earlyexit.training.distillation import Taught, distillation
from earlyexit.training.loop import fit
from earlyexit.training.recipe import DisjointRecipe, Precision


def train_candidates(
    network: EarlyExitNetwork,
    heads: Sequence[Head],
    channels: int,
    recipe: DisjointRecipe,
    train: PackedSplit,
    held_out: PackedSplit,
    *,
    images: int,
    device: torch.device,
    precision: Precision = "float32",
    taught: Taught | None = None,
) -> Candidates:
    """Train all candidate exits as Stage A trains exits, on images without augmentation.

    Args:
        network: the baseline; stays as it is.
        heads: kinds of heads, each of them after every block.
        channels: of the heads' convolution.
        recipe: of Stage A; the network's own teacher is its final classifier.
        train, held_out: images to learn from, and images to answer.
        images: of the train split, at most; evenly spread over it.
        device, precision: of the training.
        taught: a teacher's answers to the train split.

    Raises:
        ValueError: a loss or a weight became NaN or infinite, or the features of two blocks do not fit into half of
            the available memory.
    """
    network.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    chosen = np.linspace(0, len(train) - 1, min(images, len(train))).round().astype(np.int64)
    pixels, labels = train.images[chosen], torch.tensor(train.labels[chosen], device=device)
    _check_memory(network, len(chosen) + len(held_out), device)
    own = torch.from_numpy(predict(network, pixels, device)[-1]).to(device)
    given = None if taught is None else taught.logits(device)[chosen]
    answers: dict[str, list[np.ndarray]] = {head: [] for head in heads}
    learned, watched = _by_block(network, pixels, device), _by_block(network, held_out.images, device)
    for (name, features), (_, held) in zip(learned, watched, strict=True):
        model = _Heads([exit_head(head, features.shape[1], [channels]) for head in heads]).to(device)
        fit(
            model,
            FeatureBatches([features, own], labels, recipe.batch_size, given),
            recipe,
            [1.0] * len(heads),
            distillation=distillation(recipe, taught, lambda batch: batch.inputs[1]),
            names=list(heads),
            monitor=dict,
            log=lambda epoch, metrics: None,
            title=f"exits after {name}",
            device=device,
            precision=precision,
        )
        for head, logits in zip(heads, _answer(model, held), strict=True):
            answers[head].append(logits)
    final = predict(network, held_out.images, device)[-1]
    return Candidates({head: np.stack(found) for head, found in answers.items()}, final, held_out.labels)


class _Heads(nn.Module):
    """Exits of several kinds on the same features; a batch also brings the final classifier's logits."""

    def __init__(self, heads: list[nn.Module]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        return [head(inputs[0]) for head in self.heads]


@torch.no_grad()
def _by_block(network: EarlyExitNetwork, images: np.ndarray, device: torch.device) -> Iterator[tuple[str, Tensor]]:
    """Yield the name and the features of each block that an exit can follow, (N, C, H, W)."""
    stem = network.blocks["stem"]
    (features,) = joined(len(images), ([stem(x)] for x in normalized_batches(network, images, device)))
    for name in network.architecture.exit_blocks:
        block = network.blocks[name]
        (features,) = joined(len(images), ([block(x)] for x in torch.split(features, BATCH)))
        yield name, features


@torch.no_grad()
def _answer(model: _Heads, features: Tensor) -> list[np.ndarray]:
    model.eval()
    parts = [torch.stack(model([x])) for x in torch.split(features, BATCH)]
    return list(torch.cat(parts, 1).cpu().numpy())


def _check_memory(network: EarlyExitNetwork, count: int, device: torch.device) -> None:
    with torch.no_grad():
        x = network.blocks["stem"](torch.zeros(1, 3, network.resolution, network.resolution, device=device))
        sizes = [x.nbytes]
        for name in network.architecture.exit_blocks:
            x = network.blocks[name](x)
            sizes.append(x.nbytes)
    largest = max(before + after for before, after in pairwise(sizes))
    if not fits_in_memory(largest * count, device):
        raise ValueError(
            f"placement.images: features of {count:,} images take {largest * count:,} bytes, more than half of the "
            "available memory; lower it"
        )
