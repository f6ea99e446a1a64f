from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from earlyexit.augment import Augmentation
from earlyexit.batches import FeatureBatches, FrozenBatches, ImageBatches
from earlyexit.network import EarlyExitNetwork
from earlyexit.packed import PackedSplit
from tests import tiny_network

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network() -> EarlyExitNetwork:
    return tiny_network.network(tiny_network.architecture())


def numbered(count: int) -> PackedSplit:
    """Images of 1 pixel whose value is their number, with labels that follow from it."""
    numbers = np.arange(count)
    pixels = np.broadcast_to(numbers.astype(np.uint8)[:, None, None, None], (count, 1, 1, 3)).copy()
    pixels.setflags(write=False)  # as a memory-mapped split
    return PackedSplit(pixels, numbers // 3 % 2, numbers)


def image_numbers(batches: ImageBatches) -> list[list[int]]:
    found = []
    for x, labels in batches:
        numbers = (x[:, 0, 0, 0] * 128 + 128).round().int()
        assert torch.equal(labels, (numbers // 3 % 2).long())
        found.append(numbers.tolist())
    return found


def feature_numbers(batches: FeatureBatches) -> list[list[int]]:
    found = []
    for (a, b), labels in batches:
        assert torch.equal(b, 2 * a)
        assert torch.equal(labels, (a[:, 0] // 3 % 2).long())
        found.append(a[:, 0].int().tolist())
    return found


def features(count: int, batch_size: int) -> FeatureBatches:
    a = torch.arange(count).float()[:, None]
    return FeatureBatches([a, 2 * a], torch.from_numpy(numbered(count).labels), batch_size)


@given(count=st.integers(2, 70), batch_size=st.integers(2, 20))
def test_an_epoch_has_every_image_once(network: EarlyExitNetwork, count: int, batch_size: int) -> None:
    images = ImageBatches(numbered(count), network, batch_size, CPU)
    for found, batches in (
        (image_numbers(images), images),
        (feature_numbers(features(count, batch_size)), features(count, batch_size)),
    ):
        assert len(found) == len(batches)
        assert all(2 <= len(batch) <= batch_size for batch in found)
        seen = Counter(number for batch in found for number in batch)
        assert max(seen.values()) == 1
        assert len(seen) == count - (count % batch_size == 1)  # batch norm cannot learn from a single image


def test_the_order_is_new_every_epoch_and_repeats_with_the_seed(network: EarlyExitNetwork) -> None:
    images, seen = ImageBatches(numbered(60), network, 16, CPU), features(60, 16)
    numbers: list[Callable[[], list[list[int]]]] = [lambda: image_numbers(images), lambda: feature_numbers(seen)]
    for epoch in numbers:
        torch.manual_seed(5)
        first, second = epoch(), epoch()
        torch.manual_seed(5)
        assert first != second
        assert epoch() == first


def test_images_come_normalized_and_augmented(network: EarlyExitNetwork) -> None:
    images = tiny_network.images(6)
    split = PackedSplit(images, np.zeros(6, np.int64), np.arange(6))
    mirror = Augmentation(40, min_crop=1, flip=1, brightness=0, contrast=0)
    ((x, labels),) = ImageBatches(split, network, 6, CPU, mirror)
    assert x.shape == (6, 3, 40, 40)
    assert x.dtype == torch.float32
    assert labels.dtype == torch.int64
    expected = network.architecture.normalize(images[:, :, ::-1])
    np.testing.assert_array_equal(x.permute(0, 2, 3, 1).numpy(), expected)


def test_frozen_batches_are_what_the_classifiers_see(network: EarlyExitNetwork) -> None:
    split = PackedSplit(tiny_network.images(9), np.arange(9) % 2, np.arange(9))
    images = ImageBatches(split, network, 4, CPU)
    torch.manual_seed(1)
    expected: list[tuple[list[Tensor], Tensor]] = []
    with torch.no_grad():
        for x, labels in images:
            expected.append((network.features(x), labels))
    torch.manual_seed(1)
    frozen = FrozenBatches(images, network)
    found = list(frozen)
    assert len(found) == len(frozen) == 2
    for (seen, labels), (wanted, answers) in zip(found, expected, strict=True):
        assert torch.equal(labels, answers)
        assert [x.shape for x in seen] == [x.shape for x in wanted]
        assert all(torch.equal(a, b) and not a.requires_grad for a, b in zip(seen, wanted, strict=True))
