import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from earlyexit.training.augment import Augmentation
from earlyexit.training.recipe import AugmentRecipe
from tests import tiny_network

OFF: dict[str, Any] = {"min_crop": 1.0, "flip": 0.0, "brightness": 0.0, "contrast": 0.0}
ON: dict[str, Any] = {"min_crop": 0.6, "flip": 0.5, "brightness": 0.2, "contrast": 0.2}
SIZE = 24


def images(count: int = 20) -> Tensor:
    return torch.from_numpy(tiny_network.images(count, SIZE))


def augmented(x: Tensor, seed: int = 0, **changes: Any) -> Tensor:
    torch.manual_seed(seed)
    return Augmentation(SIZE, AugmentRecipe(**(OFF | changes)))(x)


@pytest.mark.parametrize("count", [1, 2, 8, 9, 20])
@pytest.mark.parametrize("change", [{}, *({key: value} for key, value in ON.items()), ON], ids=repr)
def test_keeps_shape_and_type_and_its_input(count: int, change: dict[str, Any]) -> None:
    x = images(count)
    before = x.clone()
    found = augmented(x, **change)
    assert found.shape == x.shape
    assert found.dtype == torch.uint8
    assert torch.equal(x, before)


def test_all_off_changes_nothing() -> None:
    x = images()
    assert torch.equal(augmented(x), x)


def test_flip_1_mirrors_left_and_right() -> None:
    x = images()
    assert torch.equal(augmented(x, flip=1.0), x.flip(2))


def test_flip_mirrors_each_image_by_itself_at_its_rate() -> None:
    x = images(1).expand(400, -1, -1, -1)
    found = augmented(x, flip=0.3)
    mirrored = (found == x.flip(2)).flatten(1).all(1)
    kept = (found == x).flatten(1).all(1)
    assert bool((mirrored ^ kept).all())
    assert 0.2 < mirrored.float().mean() < 0.4


def test_same_seed_same_images() -> None:
    x = images()
    assert torch.equal(augmented(x, 1, **ON), augmented(x, 1, **ON))
    assert not torch.equal(augmented(x, 1, **ON), augmented(x, 2, **ON))


@pytest.mark.parametrize("cuts", [(0, 20), (0, 3, 20), (0, 8, 12, 20), (0, 0, 10, 20)], ids=repr)
def test_a_part_of_a_batch_comes_out_as_in_the_batch(cuts: tuple[int, ...]) -> None:
    x = images()
    augmentation = Augmentation(SIZE - 8, AugmentRecipe(**ON))
    torch.manual_seed(0)
    whole, after = augmentation(x), torch.rand(1)
    for first, end in itertools.pairwise(cuts):
        torch.manual_seed(0)
        assert torch.equal(augmentation(x[first:end], first, len(x)), whole[first:end])
        assert torch.rand(1) == after


@pytest.mark.parametrize("key", ["min_crop", "brightness", "contrast"])
def test_a_batch_of_equal_images_comes_out_varied(key: str) -> None:
    x = images(1).expand(64, -1, -1, -1)
    assert len(np.unique(augmented(x, **{key: ON[key]}).numpy(), axis=0)) >= 8


def test_brightness_stays_in_its_range() -> None:
    x = torch.full((64, SIZE, SIZE, 3), 100, dtype=torch.uint8)
    levels = augmented(x, brightness=0.2).flatten(1).float()
    assert bool((levels.amin(1) == levels.amax(1)).all())
    assert 79 <= levels.min() < 95
    assert 105 < levels.max() <= 120


def test_a_crop_keeps_at_least_its_share() -> None:
    # Both coordinates run over the picture, so a crop's extent can be read off its corners.
    steps = torch.linspace(0, 240, SIZE)
    x = torch.zeros(64, SIZE, SIZE, 3, dtype=torch.uint8)
    x[..., 0], x[..., 1] = steps.to(torch.uint8)[None, :, None], steps.to(torch.uint8)[None, None, :]
    found = augmented(x, min_crop=0.6).float() / 240
    height = found[..., 0].flatten(1).amax(1) - found[..., 0].flatten(1).amin(1)
    width = found[..., 1].flatten(1).amax(1) - found[..., 1].flatten(1).amin(1)
    share = height * width
    assert share.min() > 0.6 - 0.12  # the outermost pixels' centres lie inside the crop
    assert share.min() < 0.75
