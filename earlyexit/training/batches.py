"""Shuffled training batches: of images, or of the features that a frozen backbone computes from them."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from earlyexit.dataset import PackedSplit
from earlyexit.model.inference import BATCH, normalized_batches
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.training import distributed, memory
from earlyexit.training.augment import Augmentation

CHUNK = 1024  # images that are copied to the GPU at once


class Batch(NamedTuple):
    """One process's part of a batch.

    Attributes:
        inputs: one tensor or several.
        labels: (N,), int64.
        size: images of the whole batch.
        taught: logits of a teacher that answered before training, (N, classes), if there is one.
    """

    inputs: Any
    labels: Tensor
    size: int
    taught: Tensor | None = None


class Batches(Protocol):
    """Batches in a new order every epoch; the order comes from torch's global generator."""

    def __len__(self) -> int: ...

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of epoch `number`, counted from 1."""


class ImageBatches:
    """Shuffled batches of normalized, augmented images.

    A last batch of a single image is dropped: batch norm cannot learn from it. If all pixels fit into half of a GPU's
    free memory, they are kept there. If not, each batch is copied to the GPU while the one before is computed.
    In the first `small_epochs` the augmentation makes images of two thirds of the resolution.
    """

    def __init__(
        self,
        data: PackedSplit,
        network: EarlyExitNetwork,
        batch_size: int,
        device: torch.device,
        augmentation: Augmentation | None = None,
        small_epochs: int = 0,
        taught: Tensor | None = None,
    ) -> None:
        self.data, self.network, self.batch_size, self.device = data, network, batch_size, device
        self.augmentation, self.small_epochs, self.taught = augmentation, small_epochs, taught
        self._labels = torch.tensor(data.labels, device=device)
        self._pixels = _on_device(data.images, device) if fits_on_gpu(data.images.nbytes, device) else None

    def __len__(self) -> int:
        return _batch_count(len(self.data.labels), self.batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield inputs (N, 3, H, W)."""
        augmentation = self.augmentation
        if augmentation is not None and number <= self.small_epochs:
            augmentation = augmentation.shrunk()
        parts = _shuffled(len(self.data.labels), self.batch_size)
        rows = _rows(parts, self.device)
        for part, at, images in zip(parts, rows, self._images(parts, rows), strict=True):
            if augmentation is not None:
                images = augmentation(images, part.first, part.size)
            yield Batch(self.network.normalize(images), self._labels[at], part.size, _rows_of(self.taught, at))

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


class FeatureBatches:
    """Shuffled batches of features that a frozen backbone computed once, before training."""

    def __init__(self, features: list[Tensor], labels: Tensor, batch_size: int, taught: Tensor | None = None) -> None:
        self.features, self.labels, self.batch_size, self.taught = features, labels, batch_size, taught

    def __len__(self) -> int:
        return _batch_count(len(self.labels), self.batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield a list of features (N, C, H, W)."""
        parts = _shuffled(len(self.labels), self.batch_size)
        for part, rows in zip(parts, _rows(parts, self.labels.device), strict=True):
            features = [feature[rows] for feature in self.features]
            yield Batch(features, self.labels[rows], part.size, _rows_of(self.taught, rows))


class FrozenBatches:
    """Batches of features that a frozen backbone computes for each batch of images, under `context`."""

    def __init__(
        self, images: ImageBatches, network: EarlyExitNetwork, context: AbstractContextManager[object] | None = None
    ) -> None:
        self.images, self.network, self.context = images, network, context or nullcontext()

    def __len__(self) -> int:
        return len(self.images)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield a list of features (N, C, H, W)."""
        for batch in self.images.epoch(number):
            with torch.no_grad(), self.context:
                features = self.network.features(batch.inputs)
            yield batch._replace(inputs=features)


def fits_on_gpu(size: int, device: torch.device) -> bool:
    """Return whether `device` is a GPU, and `size` bytes take at most half of its free memory."""
    return device.type == "cuda" and size <= torch.cuda.mem_get_info(device)[0] / 2


def fits_in_memory(size: int, device: torch.device) -> bool:
    """Return whether `size` bytes take at most half of the memory that is available to this process on `device`."""
    if device.type == "cuda":
        return fits_on_gpu(size, device)
    return size <= memory.available() / distributed.processes_here() / 2


class _Part(NamedTuple):
    """One process's rows of a batch, the place of the first of them in the batch, and the size of the batch."""

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
    """Return the rows of each batch on `device`, copied all at once: one copy per batch would wait for the GPU."""
    rows = torch.from_numpy(np.concatenate([part.rows for part in parts])).to(device)
    return torch.split(rows, [len(part.rows) for part in parts])


def _rows_of(taught: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if taught is None else taught[rows]


def _batch_count(count: int, batch_size: int) -> int:
    full, rest = divmod(count, batch_size)
    return full + (rest > 1)


def _on_device(images: np.ndarray, device: torch.device) -> Tensor:
    pixels = torch.empty(images.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(images), CHUNK):
        # A copy: torch warns of read-only arrays, such as a memory-mapped split.
        pixels[start : start + CHUNK] = torch.from_numpy(images[start : start + CHUNK].copy())
    return pixels


@torch.no_grad()
def frozen_features(network: EarlyExitNetwork, images: np.ndarray, device: torch.device) -> list[Tensor]:
    """Return the input of each classifier, the final one's last, with batch norm in eval mode; each (N, C, H, W)."""
    network.eval()
    with distributed.progress(desc="features", unit="batch", total=math.ceil(len(images) / BATCH)) as bar:

        def parts() -> Iterator[list[Tensor]]:
            for x in normalized_batches(network, images, device):
                yield network.features(x)
                bar.update()

        return joined(len(images), parts())


def joined(count: int, parts: Iterator[Sequence[Tensor]]) -> list[Tensor]:
    """Return parts of tensors, (n, C, H, W) each, as whole tensors of `count` rows, channels last in memory.

    Unlike `torch.cat`, it never holds all rows twice.
    """
    first = next(parts)
    wholes = [
        torch.empty((count, *part.shape[1:]), dtype=part.dtype, device=part.device, memory_format=torch.channels_last)
        for part in first
    ]
    place = 0
    for some in chain([first], parts):
        for whole, part in zip(wholes, some, strict=True):
            whole[place : place + len(part)] = part
        place += len(some[0])
    return wholes
