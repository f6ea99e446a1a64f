"""Shuffled training batches: from images, or from features that a frozen backbone gave."""

import copy
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from earlyexit.model.inference import BATCH, _normalized
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.training import distributed
from earlyexit.training.augment import Augmentation

CHUNK = 1024  # images that are copied to the GPU at once


class Batch(NamedTuple):
    """This process' part of a batch, its inputs (a tensor or several) and labels, and the size of the whole batch."""

    inputs: Any
    labels: Tensor
    size: int


class Labelled(Protocol):
    """Images uint8 (N, H, W, 3) and labels int64 (N,)."""

    @property
    def images(self) -> np.ndarray:
        """Pixels."""

    @property
    def labels(self) -> np.ndarray:
        """0 or 1 an image."""


class Batches(Protocol):
    """Batches in a new order every epoch, drawn from torch's global generator."""

    def __len__(self) -> int: ...

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of one epoch, from 1."""


class ImageBatches:
    """Shuffled batches of normalized, augmented images, a new order every epoch; drops a last batch of one image.

    A GPU keeps the pixels where they fit into half of its free memory; else the next batch is on its way to the GPU
    while one is computed.
    """

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
        self._labels = torch.tensor(data.labels, device=device)
        self._pixels = _on_device(data.images, device) if fits_on_gpu(data.images.nbytes, device) else None

    def augmented(self, augmentation: Augmentation) -> "ImageBatches":
        """Return the same batches, of the same pixels, with another augmentation."""
        other = copy.copy(self)
        other.augmentation = augmentation
        return other

    def __len__(self) -> int:
        return _batch_count(len(self.data.labels), self.batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield inputs (N, 3, H, W)."""
        parts = _shuffled(len(self.data.labels), self.batch_size)
        rows = _rows(parts, self.device)
        for part, at, images in zip(parts, rows, self._images(parts, rows), strict=True):
            if self.augmentation is not None:
                images = self.augmentation(images, part.first, part.size)
            yield Batch(self.network.normalize(images), self._labels[at], part.size)

    def _images(self, parts: Sequence["_Part"], rows: Sequence[Tensor]) -> Iterator[Tensor]:
        if self._pixels is not None:
            return (self._pixels[at] for at in rows)
        if self.device.type != "cuda":
            return (torch.from_numpy(self.data.images[part.rows]) for part in parts)
        return self._sent_ahead(parts)

    def _sent_ahead(self, parts: Sequence["_Part"]) -> Iterator[Tensor]:
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(self._send, parts[0])
            for part in parts[1:]:
                images = coming.result()
                coming = pool.submit(self._send, part)
                yield images
            yield coming.result()

    def _send(self, part: "_Part") -> Tensor:
        images = torch.from_numpy(self.data.images[part.rows])
        if self.device.type == "cuda":
            images = images.pin_memory()
        return images.to(self.device, non_blocking=True)


class GrowingBatches:
    """The first epochs from one source of batches, the rest from another one of the same length."""

    def __init__(self, first: Batches, then: Batches, epochs: int) -> None:
        self.first, self.then, self.epochs = first, then, epochs

    def __len__(self) -> int:
        return len(self.then)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield what the source of this epoch has."""
        return (self.first if number <= self.epochs else self.then).epoch(number)


class FeatureBatches:
    """Shuffled batches of features that a frozen backbone computed once."""

    def __init__(self, features: list[Tensor], labels: Tensor, batch_size: int) -> None:
        self.features, self.labels, self.batch_size = features, labels, batch_size

    def __len__(self) -> int:
        return _batch_count(len(self.labels), self.batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield a list of features (N, C, H, W)."""
        parts = _shuffled(len(self.labels), self.batch_size)
        for part, rows in zip(parts, _rows(parts, self.labels.device), strict=True):
            yield Batch([feature[rows] for feature in self.features], self.labels[rows], part.size)


class FrozenBatches:
    """Batches of features that a frozen backbone computes anew for every batch of images, under `context`."""

    def __init__(
        self, images: ImageBatches, network: EarlyExitNetwork, context: AbstractContextManager[object] | None = None
    ) -> None:
        self.images, self.network, self.context = images, network, context or nullcontext()

    def __len__(self) -> int:
        return len(self.images)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield a list of features (N, C, H, W)."""
        for x, labels, size in self.images.epoch(number):
            with torch.no_grad(), self.context:
                features = self.network.features(x)
            yield Batch(features, labels, size)


def fits_on_gpu(size: int, device: torch.device) -> bool:
    """Whether `device` is a GPU of which `size` bytes take no more than half of the free memory."""
    return device.type == "cuda" and size <= torch.cuda.mem_get_info(device)[0] / 2


class _Part(NamedTuple):
    """This process' rows of a batch, the place of the first among its rows, and how many those are."""

    rows: np.ndarray
    first: int
    size: int


def _shuffled(count: int, batch_size: int) -> list[_Part]:
    order = torch.randperm(count).numpy()
    parts = []
    for start in range(0, count, batch_size):
        rows = np.sort(order[start : start + batch_size])
        if len(rows) > 1:
            first, end = distributed.part(len(rows))
            parts.append(_Part(rows[first:end], first, len(rows)))
    return parts


def _rows(parts: Sequence[_Part], device: torch.device) -> Sequence[Tensor]:
    """The rows of each batch on `device`, copied there at once: a copy a batch would wait for the GPU."""
    rows = torch.from_numpy(np.concatenate([part.rows for part in parts])).to(device)
    return torch.split(rows, [len(part.rows) for part in parts])


def _batch_count(count: int, batch_size: int) -> int:
    full, rest = divmod(count, batch_size)
    return full + (rest > 1)


def _on_device(images: np.ndarray, device: torch.device) -> Tensor:
    pixels = torch.empty(images.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(images), CHUNK):
        # A copy: torch warns of arrays that it must not write to, as a memory-mapped split is.
        pixels[start : start + CHUNK] = torch.from_numpy(images[start : start + CHUNK].copy())
    return pixels


@torch.no_grad()
def frozen_features(network: EarlyExitNetwork, images: np.ndarray, device: torch.device) -> list[Tensor]:
    """Return what each classifier sees, the final one's last, batch norm in eval mode; a list of (N, C, H, W)."""
    network.eval()
    parts = []
    with distributed.progress(desc="features", unit="batch", total=math.ceil(len(images) / BATCH)) as bar:
        for x in _normalized(network, images, device):
            parts.append(network.features(x))
            bar.update()
    return [torch.cat(feature) for feature in zip(*parts, strict=True)]
