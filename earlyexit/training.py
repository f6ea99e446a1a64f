"""Training: one loop for the baseline and for both stages of Section II-A."""

import copy
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from earlyexit.augment import Augmentation
from earlyexit.batches import Batches, FeatureBatches, FrozenBatches, GrowingBatches, ImageBatches, Labelled
from earlyexit.inference import accuracies, frozen_features, predict
from earlyexit.losses import Distillation, weighted_loss
from earlyexit.network import EarlyExitNetwork

WARM_UP = 0.2

Log = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Recipe:
    """AdamW under a one-cycle schedule; the last epoch's weights are kept, so nothing is chosen on held-out images.

    The first `small_epochs` see augmented images at two thirds of the resolution: most is learned there, in less than
    half the time (progressive resizing). No epochs at all: the network stays as it is.

    `distill` is the share of the loss that follows the final classifier as it was before, at `temperature`.
    `freeze_norm` keeps the statistics of the backbone's batch norm: for little data, or where they are folded away.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    small_epochs: int = 0
    distill: float = 0
    temperature: float = 1
    freeze_norm: bool = False


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
) -> dict[str, float]:
    """Train all of `network`, backbone and exits together, by Eq. 1: the baseline, and Stage B of Section II-A.

    Args:
        network: trained in place.
        train, held_out: images to learn from, and to watch.
        recipe: epochs, batch size, rate, decay.
        weights: of the loss, one a classifier.
        augmentation: of the training images, or None.
        device: where to train.
        log: gets each epoch's metrics.
        title: of the progress bar; the section of the params.

    Returns:
        the last epoch's metrics.
    """
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.norm_frozen = recipe.freeze_norm
    network.train()
    full = ImageBatches(train, network, recipe.batch_size, device, augmentation)
    batches: Batches = full
    if augmentation is not None and recipe.small_epochs:
        small = ImageBatches(train, network, recipe.batch_size, device, augmentation.shrunk())
        batches = GrowingBatches(small, full, recipe.small_epochs)
    names = network.architecture.outputs

    def monitor() -> dict[str, float]:
        shares = accuracies(predict(network, held_out.images, device), held_out.labels)
        return {f"calibration/{name}": share for name, share in zip(names, shares, strict=True)}

    return fit(
        network,
        list(network.parameters()),
        batches,
        recipe,
        weights,
        distillation=_from_itself(network, recipe),
        names=names,
        monitor=monitor,
        log=log,
        title=title,
    )


def train_exits(
    network: EarlyExitNetwork,
    train: Labelled,
    held_out: Labelled,
    recipe: Recipe,
    augmentation: Augmentation | None,
    device: torch.device,
    log: Log,
) -> dict[str, float]:
    """Train the early exits alone, each by its own loss; the backbone is frozen: Stage A of Section II-A.

    Batch norm of the backbone stays in eval mode. Its features are computed once where no augmentation changes them
    and they fit into half of the memory, else batch by batch. Arguments and result as `train_network`.
    """
    network.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    exits = network.exits
    names = network.architecture.outputs[:-1]
    watched = frozen_features(network, held_out.images, device)
    expected = torch.tensor(held_out.labels, device=device)
    batches: Batches
    if augmentation is None and _fits(watched, len(train.labels)):
        features = frozen_features(network, train.images, device)
        batches = FeatureBatches(features, torch.tensor(train.labels, device=device), recipe.batch_size)
    else:
        batches = FrozenBatches(ImageBatches(train, network, recipe.batch_size, device, augmentation), network)

    def model(features: list[Tensor]) -> list[Tensor]:
        return [head(x) for head, x in zip(exits, features[:-1], strict=True)]

    @torch.no_grad()
    def final(features: list[Tensor]) -> Tensor:
        logits: Tensor = network.classifier(features[-1])
        return logits

    @torch.no_grad()
    def monitor() -> dict[str, float]:
        exits.eval()
        shares = [float((z.argmax(1) == expected).double().mean()) for z in model(watched)]
        exits.train()
        return {f"calibration/{name}": share for name, share in zip(names, shares, strict=True)}

    exits.train()
    weights = [1.0] * len(names)
    return fit(
        model,
        list(exits.parameters()),
        batches,
        recipe,
        weights,
        distillation=Distillation(recipe.distill, recipe.temperature, final) if recipe.distill else None,
        names=names,
        monitor=monitor,
        log=log,
        title="disjoint",
    )


def fit(
    model: Callable[[Any], list[Tensor]],
    parameters: Sequence[nn.Parameter],
    batches: Batches,
    recipe: Recipe,
    weights: Sequence[float],
    *,
    distillation: Distillation | None = None,
    names: Sequence[str],
    monitor: Callable[[], dict[str, float]],
    log: Log,
    title: str,
) -> dict[str, float]:
    """Train `parameters` to lower the weighted loss of `model`'s classifiers; return the last epoch's metrics.

    Without epochs, nothing is trained, and what `monitor` finds is logged as epoch 0.

    Args:
        model: maps a batch to the logits of each classifier.
        parameters: what the optimizer updates.
        batches: iterated once an epoch.
        recipe: epochs, rate, decay.
        weights: of the loss, one a classifier (Eq. 1).
        distillation: the teacher, if there is one.
        names: of the classifiers.
        monitor: called after each epoch, returns held-out metrics; watched, never chosen by.
        log: gets the epoch (from 1) and all metrics of it.
        title: of the progress bar.

    Raises:
        ValueError: the loss became NaN or infinite; names epoch, rate and what to change.
    """
    if recipe.epochs == 0:
        metrics = monitor()
        log(0, metrics)
        return metrics
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
    steps = recipe.epochs * len(batches)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step, steps))
    metrics = {}
    with tqdm(total=steps, desc=title, unit="batch", mininterval=1) as bar:
        for epoch in range(1, recipe.epochs + 1):
            metrics = _epoch(model, batches, weights, distillation, names, optimizer, schedule, bar)
            if not math.isfinite(metrics["train/loss"]):
                raise ValueError(
                    f"{title}: the loss is not finite in epoch {epoch} at rate {schedule.get_last_lr()[0]:.2g}; "
                    f"lower {title}.learning_rate"
                )
            metrics |= monitor()
            log(epoch, metrics)
            bar.set_postfix({name: f"{metrics[f'train/{name}']:.3f}" for name in names})
    return metrics


def one_cycle(step: int, steps: int) -> float:
    """Return the share of the peak learning rate at `step` of `steps`: up linearly over a fifth, down a cosine to 0."""
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return (step + 1) / rise
    return (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) / 2


def _epoch(
    model: Callable[[Any], list[Tensor]],
    batches: Batches,
    weights: Sequence[float],
    distillation: Distillation | None,
    names: Sequence[str],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    bar: "tqdm[Any]",
) -> dict[str, float]:
    # Sums stay on the device until the epoch ends: reading one would wait for it.
    losses, hits, count = [], [], 0
    for inputs, labels in batches:
        optimizer.zero_grad()
        logits = model(inputs)
        if distillation is None:
            loss = weighted_loss(logits, labels, weights)
        else:
            taught = distillation.teacher(inputs)
            loss = weighted_loss(logits, labels, weights, taught, distillation.share, distillation.temperature)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        losses.append(loss.detach() * len(labels))
        hits.append(torch.stack([(z.detach().argmax(1) == labels).sum() for z in logits]))
        count += len(labels)
        bar.update()
    right = torch.stack(hits).sum(0).tolist()
    metrics = {"train/loss": float(torch.stack(losses).sum()) / count}
    return metrics | {f"train/{name}": n / count for name, n in zip(names, right, strict=True)}


def _from_itself(network: EarlyExitNetwork, recipe: Recipe) -> Distillation | None:
    if not recipe.distill:
        return None
    before = copy.deepcopy(network).eval()

    @torch.no_grad()
    def teacher(x: Tensor) -> Tensor:
        logits: Tensor = before.classifier(before.features(x)[-1])
        return logits

    return Distillation(recipe.distill, recipe.temperature, teacher)


def _fits(sample: Sequence[Tensor], count: int) -> bool:
    a_row = sum(feature[0].numel() * feature.element_size() for feature in sample)
    return a_row * count < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2
