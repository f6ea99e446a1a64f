"""Augmentation of uint8 batches with torchvision.transforms.v2."""

import torch
from torch import Tensor

from earlyexit.common.vision import v2
from earlyexit.training.recipe import AugmentRecipe

# v2 draws one set of parameters per call, so a batch is augmented in groups: small enough for variety,
# large enough that the calls take little time beside the training step.
GROUP = 8


class Augmentation:
    """Random crop, mirror image, brightness and contrast.

    Args:
        resolution: height and width of the result, in pixels.
        recipe: how much of each.
    """

    def __init__(self, resolution: int, recipe: AugmentRecipe) -> None:
        self.resolution, self.recipe = resolution, recipe
        stretch = (0.8, 1.25) if recipe.min_crop < 1 else (1.0, 1.0)
        self.steps = [v2.RandomResizedCrop(resolution, scale=(recipe.min_crop, 1.0), ratio=stretch, antialias=False)]
        if recipe.brightness or recipe.contrast:
            self.steps.append(v2.ColorJitter(brightness=recipe.brightness, contrast=recipe.contrast))

    def shrunk(self) -> "Augmentation":
        """Return the same augmentation at two thirds of the resolution, to a multiple of 8: 0.44 of the computation."""
        return Augmentation(max(8, round(self.resolution / 12) * 8), self.recipe)

    def __call__(self, images: Tensor, first: int = 0, count: int | None = None) -> Tensor:
        """Map uint8 images (N, H, W, 3) to (N, resolution, resolution, 3); draws from torch's global generator.

        Every process draws random numbers for the whole batch and uses its own rows, so results equal one process's.

        Args:
            images: the rows of this process.
            first: place of the first of them in the batch.
            count: images of the whole batch; None: `images` are the whole batch.
        """
        count = len(images) if count is None else count
        x = images.permute(0, 3, 1, 2)
        mirrored = torch.rand(count, device=x.device)[first : first + len(x)] < self.recipe.flip
        x = torch.where(mirrored[:, None, None, None], v2.functional.horizontal_flip(x), x)
        groups = []
        for start in range(0, count, GROUP):
            drawn = [step.make_params([x]) for step in self.steps]
            group = x[max(start - first, 0) : max(start + GROUP - first, 0)]
            if len(group):
                for step, params in zip(self.steps, drawn, strict=True):
                    group = step.transform(group, params)
                groups.append(group)
        x = torch.cat(groups) if groups else x.new_empty(0, 3, self.resolution, self.resolution)
        return x.permute(0, 2, 3, 1)
