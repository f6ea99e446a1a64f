"""Shuffled training batches: from images, or from features that a frozen backbone gave."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from earlyexit.augment import Augmentation
from earlyexit.network import EarlyExitNetwork

Batch = tuple[Tensor | list[Tensor], Tensor]


class Labelled(Protocol):
    """Images uint8 (N, H, W, 3) and labels int64 (N,)."""

    @property
    def images(self) -> np.ndarray:
        """Pixels."""

    @property
    def labels(self) -> np.ndarray:
        """0 or 1 an image."""


class Batches(Protocol):
    """Batches of (inputs, labels), in a new order every time they are iterated."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...


class ImageBatches:
    """Shuffled batches of normalized, augmented images, a new order every epoch; drops a last batch of one image."""

    def __init__(
        self,
        data: Labelled,
        network: EarlyExitNetwork,
        batch_size: int,
        device: torch.device,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.data, self.network, self.batch_size, self.device = data, network, batch_size, device
        self.augmentation = augmentation

    def __len__(self) -> int:
        return _batch_count(len(self.data.labels), self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for index in _shuffled(len(self.data.labels), self.batch_size):
            rows = np.sort(index)
            images = torch.from_numpy(self.data.images[rows]).to(self.device)
            if self.augmentation is not None:
                images = self.augmentation(images)
            yield self.network.normalize(images), torch.from_numpy(self.data.labels[rows]).to(self.device)


class GrowingBatches:
    """The first epochs from one source of batches, the rest from another one of the same length."""

    def __init__(self, first: ImageBatches, then: ImageBatches, epochs: int) -> None:
        self.first, self.then, self.epochs_left = first, then, epochs

    def __len__(self) -> int:
        return len(self.then)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self.epochs_left == 0:
            return iter(self.then)
        self.epochs_left -= 1
        return iter(self.first)


class FeatureBatches:
    """Shuffled batches of features that a frozen backbone computed once."""

    def __init__(self, features: list[Tensor], labels: Tensor, batch_size: int) -> None:
        self.features, self.labels, self.batch_size = features, labels, batch_size

    def __len__(self) -> int:
        return _batch_count(len(self.labels), self.batch_size)

    def __iter__(self) -> Iterator[tuple[list[Tensor], Tensor]]:
        for rows in _shuffled(len(self.labels), self.batch_size):
            index = torch.from_numpy(np.sort(rows)).to(self.labels.device)
            yield [feature[index] for feature in self.features], self.labels[index]


class FrozenBatches:
    """Batches of features that a frozen backbone computes anew for every batch of images."""

    def __init__(self, images: ImageBatches, network: EarlyExitNetwork) -> None:
        self.images, self.network = images, network

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[tuple[list[Tensor], Tensor]]:
        for x, labels in self.images:
            with torch.no_grad():
                features = self.network.features(x)
            yield features, labels


def _shuffled(count: int, batch_size: int) -> Iterator[np.ndarray]:
    order = torch.randperm(count).numpy()
    for start in range(0, count, batch_size):
        rows = order[start : start + batch_size]
        if len(rows) > 1:
            yield rows


def _batch_count(count: int, batch_size: int) -> int:
    full, rest = divmod(count, batch_size)
    return full + (rest > 1)
