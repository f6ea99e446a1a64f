"""The three trainings: the baseline, Stage A (exits alone) and Stage B (all together) of Section II-A."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from earlyexit.dataset import PackedSplit
from earlyexit.model.inference import predict
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.training import distributed
from earlyexit.training.augment import Augmentation
from earlyexit.training.batches import (
    Batch,
    Batches,
    FeatureBatches,
    FrozenBatches,
    ImageBatches,
    fits_in_memory,
    frozen_features,
)
from earlyexit.training.distillation import Distillation, Taught, distillation
from earlyexit.training.fake_quantization import fake_quantized, learned_ranges, settled
from earlyexit.training.loop import Log, accuracies, autocast, fit
from earlyexit.training.recipe import (
    AugmentRecipe,
    BaselineRecipe,
    DisjointRecipe,
    DistilledRecipe,
    JointRecipe,
    Precision,
    QatRecipe,
    Recipe,
)
from earlyexit.training.resume import Metrics, Unfinished, fingerprint
from earlyexit.training.shared_norm import share_norms


@dataclass(frozen=True)
class Session:
    """What the three trainings have in common.

    Under torchrun each process takes its part of every batch, and all end with the same weights and metrics.

    Attributes:
        train, held_out: images to learn from, and images to watch the accuracy on.
        augment: of the training images; None: they are not augmented.
        device: where to train.
        log: called with each epoch's number and metrics, also for epochs from before an interruption.
        precision: of the forward pass and the loss (autocast); weights and held-out metrics are float32.
        unfinished: folder for the state after each epoch, from which an interrupted training goes on. The caller
            removes it once the result is safe. None: no state is kept.
        taught: a teacher's answers to the training images; None: the only teacher is the network itself.
    """

    train: PackedSplit
    held_out: PackedSplit
    augment: AugmentRecipe | None
    device: torch.device
    log: Log
    precision: Precision = "float32"
    unfinished: Path | None = None
    taught: Taught | None = None

    def place(self, network: EarlyExitNetwork) -> None:
        """Move `network` to the device, channels last in memory.

        Raises:
            ValueError: the device cannot train in this precision.
        """
        autocast(self.precision, self.device)
        network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def batches(self, network: EarlyExitNetwork, size: int, small_epochs: int = 0) -> ImageBatches:
        """Return batches of `size` training images, augmented; smaller images in the first `small_epochs`."""
        augmentation = Augmentation(network.resolution, self.augment) if self.augment else None
        return ImageBatches(self.train, network, size, self.device, augmentation, small_epochs, self.taught_logits())

    def taught_logits(self) -> Tensor | None:
        """Return the teacher's answers as logits, (images, 2), on the device; None where there is no teacher."""
        return None if self.taught is None else self.taught.logits(self.device)


def train_baseline(
    network: EarlyExitNetwork, recipe: BaselineRecipe, session: Session, title: str = "baseline"
) -> Metrics:
    """Train a network without early exits, in place. Without `session.taught` it learns from the labels alone.

    Args:
        network: new, or trained before.
        recipe: how to train.
        session: the images, the device, the teacher.
        title: section of params.yaml that the recipe is from, for the progress bar and messages.

    Returns:
        the last epoch's metrics.

    Raises:
        ValueError: the loss or a weight became NaN or infinite, or the device cannot train in `session.precision`.
        OSError: the unfinished state could not be written.
    """
    session.place(network)
    batches = session.batches(network, recipe.batch_size, recipe.small_epochs)
    taught = distillation(recipe, session.taught)
    return _train(title, network, network, recipe, [1.0], batches, taught, _right(network, session), session)


def train_jointly(network: EarlyExitNetwork, recipe: JointRecipe, session: Session) -> Metrics:
    """Train backbone and exits together by Eq. 1, in place: Stage B of Section II-A.

    The network's own teacher is its final classifier as it was before. Result and errors as `train_baseline`.
    """
    network.norm_frozen = recipe.freeze_norm
    weights = recipe.loss_weights(len(network.exits))
    return _fine_tune("joint", network, copy.deepcopy(network), recipe, weights, session)


def train_quantized(
    network: EarlyExitNetwork,
    recipe: QatRecipe,
    weights: Sequence[float],
    session: Session,
    *,
    bits: int,
    per_channel: bool,
) -> tuple[EarlyExitNetwork, list[list[tuple[float, float]]], Metrics]:
    """Train a network that rounds as its quantized file will, by the weighted loss of Eq. 1.

    Args:
        network: trained and folded; it changes. Its final classifier as it was before is its own teacher.
        recipe: how to train.
        weights: of the losses, one per classifier.
        session: the images, the device, the teacher.
        bits, per_channel: of the weights, as `FakeQuantizedWeights` takes them.

    Returns:
        the trained network without rounding, its weights being those of the quantized file; for each segment, the
        ranges of its input and of each operator's output (no segments without `recipe.rounding`); the last epoch's
        metrics.

    Raises:
        ValueError: as `train_baseline`, or a range is empty or not finite.
    """
    before, settings = copy.deepcopy(network), {}
    if recipe.rounding:
        steps = round(recipe.freeze_ranges * recipe.epochs * len(session.batches(network, recipe.batch_size)))
        network = fake_quantized(network, bits, per_channel, steps)
        settings = {"weights": {"bits": bits, "per_channel": per_channel}}
    metrics = _fine_tune("qat", network, before, recipe, weights, session, settings)
    network.cpu()
    return settled(network), learned_ranges(network) if recipe.rounding else [], metrics


def train_exits(network: EarlyExitNetwork, recipe: DisjointRecipe, session: Session) -> Metrics:
    """Train the early exits alone, each by its own loss, on the frozen backbone, in place: Stage A of Section II-A.

    Batch norm of the backbone stays in eval mode. If no augmentation changes the backbone's features, and they fit into
    half of the available memory, they are computed once, in float32; if not, batch by batch. The network's own teacher
    is its final classifier. Result and errors as `train_baseline`.
    """
    if not recipe.augment:
        session = replace(session, augment=None)
    session.place(network)
    network.eval()
    heads = _Heads(network.exits)
    first, end = distributed.part(len(session.held_out))
    watched = frozen_features(network, session.held_out.images[first:end], session.device)
    expected = torch.tensor(session.held_out.labels[first:end], device=session.device)
    batches: Batches
    if session.augment is None and _fits(watched, len(session.train), session.device):
        features = frozen_features(network, session.train.images, session.device)
        labels = torch.tensor(session.train.labels, device=session.device)
        batches = FeatureBatches(features, labels, recipe.batch_size, session.taught_logits())
    else:
        images = session.batches(network, recipe.batch_size)
        batches = FrozenBatches(images, network, autocast(session.precision, session.device))

    @torch.no_grad()
    def own(batch: Batch) -> Tensor:
        logits: Tensor = network.classifier(batch.inputs[-1])
        return logits

    @torch.no_grad()
    def right() -> Tensor:
        heads.eval()
        counts = torch.stack([(z.argmax(1) == expected).sum() for z in heads(watched)])
        heads.train()
        return counts

    taught = distillation(recipe, session.taught, own)
    weights = [1.0] * len(network.exits)
    return _train("disjoint", network, heads, recipe, weights, batches, taught, right, session)


def _fine_tune(
    title: str,
    network: EarlyExitNetwork,
    before: EarlyExitNetwork,
    recipe: DistilledRecipe,
    weights: Sequence[float],
    session: Session,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> Metrics:
    """Train all of a trained network; `before`: the same network, whose final classifier is a teacher.

    `settings`: what determines the result besides recipe and session, as JSON values.
    """
    session.place(network)
    session.place(before)
    before.eval()

    @torch.no_grad()
    def own(batch: Batch) -> Tensor:
        logits: Tensor = before.classifier(before.features(batch.inputs)[-1])
        return logits

    taught = distillation(recipe, session.taught, own)
    batches, right = session.batches(network, recipe.batch_size), _right(network, session)
    return _train(title, network, network, recipe, weights, batches, taught, right, session, settings)


class _Heads(nn.Module):
    """Early exits on the features of a frozen backbone."""

    def __init__(self, exits: nn.ModuleList) -> None:
        super().__init__()
        self.exits = exits

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [head(x) for head, x in zip(self.exits, features[:-1], strict=True)]


def _right(network: EarlyExitNetwork, session: Session) -> Callable[[], Tensor]:
    """Return a function that counts, per classifier, the correctly classified held-out images of this process."""
    first, end = distributed.part(len(session.held_out))
    images, labels = session.held_out.images[first:end], session.held_out.labels[first:end]

    def right() -> Tensor:
        found = predict(network, images, session.device).argmax(2) == labels
        return torch.from_numpy(found.sum(1)).to(session.device)

    return right


def _train(
    title: str,
    network: EarlyExitNetwork,
    model: nn.Module,
    recipe: Recipe,
    weights: Sequence[float],
    batches: Batches,
    taught: Distillation | None,
    right: Callable[[], Tensor],
    session: Session,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> Metrics:
    """Train `model`, a part of `network` or all of it; `right` counts the correct held-out images per classifier."""
    names = network.architecture.outputs[: len(weights)]
    unfinished = None
    if session.unfinished is not None:
        mark = fingerprint(
            network,
            session.train,
            session.device,
            {
                "recipe": recipe.model_dump(),
                "augmentation": session.augment and session.augment.model_dump(),
                "precision": session.precision,
                "teacher": session.taught and session.taught.summary(),
                **settings,
            },
        )
        unfinished = Unfinished(session.unfinished, title, mark, session.device)
    share_norms(model)
    return fit(
        model.train(),
        batches,
        recipe,
        weights,
        distillation=taught,
        names=names,
        monitor=lambda: accuracies("calibration", names, right(), len(session.held_out)),
        log=session.log,
        title=title,
        device=session.device,
        precision=session.precision,
        unfinished=unfinished,
    )


def _fits(sample: Sequence[Tensor], count: int, device: torch.device) -> bool:
    """Return whether features of `count` images, of the shapes in `sample`, fit into half of what is available."""
    per_image = sum(feature.shape[1:].numel() * feature.element_size() for feature in sample)
    return fits_in_memory(per_image * count, device)
