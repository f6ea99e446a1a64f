"""Training: one loop for the baseline and for both stages of Section II-A."""

import copy
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from earlyexit.model.inference import predict
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.training import distributed, shared_norm
from earlyexit.training.augment import Augmentation
from earlyexit.training.batches import (
    Batches,
    FeatureBatches,
    FrozenBatches,
    GrowingBatches,
    ImageBatches,
    Labelled,
    fits_on_gpu,
    frozen_features,
)
from earlyexit.training.loop import Log, Precision, Recipe, _shares, autocast, fit
from earlyexit.training.losses import Distillation
from earlyexit.training.resume import Metrics, Unfinished, fingerprint


def train_network(
    network: EarlyExitNetwork,
    train: Labelled,
    held_out: Labelled,
    recipe: Recipe,
    weights: Sequence[float],
    augmentation: Augmentation | None,
    device: torch.device,
    log: Log,
    title: str,
    *,
    precision: Precision = "float32",
    unfinished: Path | None = None,
) -> Metrics:
    """Train all of `network`, backbone and exits together, by Eq. 1: the baseline, and Stage B of Section II-A.

    Under torchrun each process takes its part of every batch, and all end with the same weights and metrics.

    Args:
        network: trained in place.
        train, held_out: images to learn from, and to watch.
        recipe: epochs, batch size, rate, decay.
        weights: of the loss, one a classifier.
        augmentation: of the training images, or None.
        device: where to train.
        log: gets each epoch's metrics, also of epochs from before an interruption.
        title: of the progress bar; the section of the params.
        precision: of the forward pass and the loss (autocast); the weights and the watched metrics are float32.
        unfinished: folder for the state after each epoch, from which an interrupted training goes on; the caller
            removes it once the result is safe. None: no state is kept.

    Returns:
        the last epoch's metrics.

    Raises:
        ValueError: the loss or a weight became NaN or infinite, or `precision` needs another device.
        OSError: the state could not be written.
    """
    autocast(precision, device)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.norm_frozen = recipe.freeze_norm
    network.train()
    kept = _kept(unfinished, title, network, train, device, recipe, weights, augmentation, precision)
    shared_norm.share_norms(network)
    batches: Batches
    batches = full = ImageBatches(train, network, recipe.batch_size, device, augmentation)
    if augmentation is not None and recipe.small_epochs:
        batches = GrowingBatches(full.augmented(augmentation.shrunk()), full, recipe.small_epochs)
    names = network.architecture.outputs
    first, end = distributed.part(len(held_out.labels))

    def monitor() -> Metrics:
        right = predict(network, held_out.images[first:end], device).argmax(2) == held_out.labels[first:end]
        return _shares("calibration", names, torch.from_numpy(right.sum(1)).to(device), len(held_out.labels))

    return fit(
        network,
        batches,
        recipe,
        weights,
        distillation=_from_itself(network, recipe),
        names=names,
        monitor=monitor,
        log=log,
        title=title,
        device=device,
        precision=precision,
        unfinished=kept,
    )


def train_exits(
    network: EarlyExitNetwork,
    train: Labelled,
    held_out: Labelled,
    recipe: Recipe,
    augmentation: Augmentation | None,
    device: torch.device,
    log: Log,
    *,
    precision: Precision = "float32",
    unfinished: Path | None = None,
) -> Metrics:
    """Train the early exits alone, each by its own loss; the backbone is frozen: Stage A of Section II-A.

    Batch norm of the backbone stays in eval mode. Its features are computed once, in float32, where no augmentation
    changes them and they fit into half of the memory, else batch by batch. Arguments, result and errors as
    `train_network`.
    """
    cast = autocast(precision, device)
    network.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    heads = _Heads(network.exits)
    names = network.architecture.outputs[:-1]
    weights = [1.0] * len(names)
    kept = _kept(unfinished, "disjoint", network, train, device, recipe, weights, augmentation, precision)
    shared_norm.share_norms(network.exits)
    first, end = distributed.part(len(held_out.labels))
    watched = frozen_features(network, held_out.images[first:end], device)
    expected = torch.tensor(held_out.labels[first:end], device=device)
    batches: Batches
    if augmentation is None and _fits(watched, len(train.labels), device):
        features = frozen_features(network, train.images, device)
        batches = FeatureBatches(features, torch.tensor(train.labels, device=device), recipe.batch_size)
    else:
        images = ImageBatches(train, network, recipe.batch_size, device, augmentation)
        batches = FrozenBatches(images, network, cast)

    @torch.no_grad()
    def final(features: list[Tensor]) -> Tensor:
        logits: Tensor = network.classifier(features[-1])
        return logits

    @torch.no_grad()
    def monitor() -> Metrics:
        heads.eval()
        right = torch.stack([(z.argmax(1) == expected).sum() for z in heads(watched)])
        heads.train()
        return _shares("calibration", names, right, len(held_out.labels))

    heads.train()
    return fit(
        heads,
        batches,
        recipe,
        weights,
        distillation=Distillation(recipe.distill, recipe.temperature, final) if recipe.distill else None,
        names=names,
        monitor=monitor,
        log=log,
        title="disjoint",
        device=device,
        precision=precision,
        unfinished=kept,
    )


class _Heads(nn.Module):
    """Early exits on the features that a frozen backbone gave."""

    def __init__(self, exits: nn.ModuleList) -> None:
        super().__init__()
        self.exits = exits

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [head(x) for head, x in zip(self.exits, features[:-1], strict=True)]


def _kept(
    folder: Path | None,
    title: str,
    network: EarlyExitNetwork,
    train: Labelled,
    device: torch.device,
    recipe: Recipe,
    weights: Sequence[float],
    augmentation: Augmentation | None,
    precision: Precision,
) -> Unfinished | None:
    if folder is None:
        return None
    settings = {
        "recipe": asdict(recipe),
        "loss weights": list(weights),
        "augmentation": augmentation and {"resolution": augmentation.resolution, **augmentation.settings},
        "precision": precision,
    }
    return Unfinished(folder, title, fingerprint(network, train, device, settings), device)


def _from_itself(network: EarlyExitNetwork, recipe: Recipe) -> Distillation | None:
    if not recipe.distill:
        return None
    before = copy.deepcopy(network).eval()

    @torch.no_grad()
    def teacher(x: Tensor) -> Tensor:
        logits: Tensor = before.classifier(before.features(x)[-1])
        return logits

    return Distillation(recipe.distill, recipe.temperature, teacher)


def _fits(sample: Sequence[Tensor], count: int, device: torch.device) -> bool:
    a_row = sum(feature.shape[1:].numel() * feature.element_size() for feature in sample)
    if device.type == "cuda":
        return fits_on_gpu(a_row * count, device)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / distributed.processes_here()
    return a_row * count < memory / 2
