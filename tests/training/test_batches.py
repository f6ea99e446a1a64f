from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from earlyexit.dataset import PackedSplit
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.training import batches as module
from earlyexit.training import distributed
from earlyexit.training.augment import Augmentation
from earlyexit.training.batches import FeatureBatches, FrozenBatches, ImageBatches
from earlyexit.training.recipe import AugmentRecipe
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
    for x, labels, size, _ in batches.epoch(1):
        numbers = (x[:, 0, 0, 0] * 128 + 128).round().int()
        assert torch.equal(labels, (numbers // 3 % 2).long())
        assert size == len(labels)
        found.append(numbers.tolist())
    return found


def feature_numbers(batches: FeatureBatches) -> list[list[int]]:
    found = []
    for (a, b), labels, size, _ in batches.epoch(1):
        assert torch.equal(b, 2 * a)
        assert torch.equal(labels, (a[:, 0] // 3 % 2).long())
        assert size == len(labels)
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
    mirror = Augmentation(40, AugmentRecipe(min_crop=1, flip=1, brightness=0, contrast=0))
    ((x, labels, _, _),) = ImageBatches(split, network, 6, CPU, mirror).epoch(1)
    assert x.shape == (6, 3, 40, 40)
    assert x.dtype == torch.float32
    assert labels.dtype == torch.int64
    expected = network.architecture.pixels.images(images[:, :, ::-1])
    np.testing.assert_array_equal(x.permute(0, 2, 3, 1).numpy(), expected)


def test_frozen_batches_are_what_the_classifiers_see(network: EarlyExitNetwork) -> None:
    split = PackedSplit(tiny_network.images(9), np.arange(9) % 2, np.arange(9))
    images = ImageBatches(split, network, 4, CPU)
    torch.manual_seed(1)
    expected: list[tuple[list[Tensor], Tensor]] = []
    with torch.no_grad():
        for x, labels, _, _ in images.epoch(1):
            expected.append((network.features(x), labels))
    torch.manual_seed(1)
    frozen = FrozenBatches(images, network)
    found = list(frozen.epoch(1))
    assert len(found) == len(frozen) == 2
    assert [batch.size for batch in found] == [4, 4]
    for (seen, labels, _, _), (wanted, answers) in zip(found, expected, strict=True):
        assert torch.equal(labels, answers)
        assert [x.shape for x in seen] == [x.shape for x in wanted]
        assert all(torch.equal(a, b) and not a.requires_grad for a, b in zip(seen, wanted, strict=True))


def test_a_teachers_answers_come_with_their_images(network: EarlyExitNetwork) -> None:
    answers = torch.arange(30).float()[:, None].repeat(1, 2)
    numbers = torch.arange(30).float()
    images = ImageBatches(numbered(30), network, 8, CPU, taught=answers)
    for batch in images.epoch(1):
        assert batch.taught is not None
        torch.testing.assert_close(batch.taught[:, 0], batch.inputs[:, 0, 0, 0] * 128 + 128)
    for batch in FeatureBatches([numbers], numbers.long(), 8, answers).epoch(1):
        assert batch.taught is not None
        assert torch.equal(batch.taught[:, 1], batch.inputs[0])
    whole = ImageBatches(tiny_network.dark_and_bright(30, 24), network, 8, CPU, taught=answers)
    torch.manual_seed(1)
    expected = [batch.taught for batch in whole.epoch(1)]
    torch.manual_seed(1)
    found = [batch.taught for batch in FrozenBatches(whole, network).epoch(1)]
    assert all(a is not None and b is not None and torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_the_first_epochs_see_smaller_images(network: EarlyExitNetwork) -> None:
    same = Augmentation(24, AugmentRecipe(min_crop=1, flip=0, brightness=0, contrast=0))
    growing = ImageBatches(tiny_network.dark_and_bright(4, 24), network, 4, CPU, same, small_epochs=2)
    sizes = [next(growing.epoch(number)).inputs.shape[-1] for number in (3, 1, 2, 3)]
    assert sizes == [24, 16, 16, 24]


@settings(max_examples=40)
@given(count=st.integers(2, 70), batch_size=st.integers(2, 20), processes=st.integers(1, 5))
def test_processes_share_the_batches_of_one(
    network: EarlyExitNetwork, count: int, batch_size: int, processes: int
) -> None:
    def epoch() -> list[list[int]]:
        torch.manual_seed(1)
        found = []
        for (a, _), labels, size, _ in features(count, batch_size).epoch(1):
            found.append(a[:, 0].int().tolist())
            assert len(labels) in (size // distributed.processes(), -(-size // distributed.processes()))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, "processes", lambda: processes)
        parts = []
        for rank in range(processes):
            patch.setattr(distributed, "rank", lambda rank=rank: rank)
            parts.append(epoch())
    whole = epoch()
    assert [[number for some in batch for number in some] for batch in zip(*parts, strict=True)] == whole


@pytest.mark.parametrize("where", ["kept there", "sent ahead"])
def test_batches_of_a_gpu_are_those_of_the_cpu(
    network: EarlyExitNetwork, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    split = numbered(50)
    torch.manual_seed(2)
    expected = list(ImageBatches(split, network, 8, CPU).epoch(1))
    if where == "kept there":
        monkeypatch.setattr(module, "fits_on_gpu", lambda *_: True)
        monkeypatch.setattr(module, "CHUNK", 7)
    else:
        monkeypatch.setattr(ImageBatches, "_images", lambda self, parts, rows: self._sent_ahead(parts))
    torch.manual_seed(2)
    found = list(ImageBatches(split, network, 8, CPU).epoch(1))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a.inputs, b.inputs)
        assert torch.equal(a.labels, b.labels)


def test_a_gpu_keeps_what_fits_into_half_of_its_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2000, 9000))
    gpu = torch.device("cuda")
    assert module.fits_on_gpu(1000, gpu)
    assert not module.fits_on_gpu(1001, gpu)
    assert not module.fits_on_gpu(1, CPU)


def test_parts_are_joined_to_the_bytes_and_the_layout_of_cat() -> None:
    parts = [[torch.randn(n, c, 4, 3).to(memory_format=torch.channels_last) for c in (5, 2)] for n in (3, 3, 1)]
    found = module.joined(7, iter(parts))
    for whole, pieces in zip(found, zip(*parts, strict=True), strict=True):
        expected = torch.cat(pieces)
        assert torch.equal(whole, expected)
        assert whole.stride() == expected.stride()
