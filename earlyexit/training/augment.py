"""Augmentation of uint8 batches with torchvision.transforms.v2."""

import torch
from torch import Tensor

from earlyexit.common.vision import v2

# v2 draws one set of parameters a call, so a batch is augmented in groups: small enough for variety,
# large enough that the calls cost little beside the training step.
GROUP = 8


class Augmentation:
    """Random crop, mirror image, brightness and contrast.

    Args:
        resolution: height and width of the result, in pixels.
        min_crop: smallest share of the area that a crop keeps; 1 turns cropping off.
        flip: probability that an image is mirrored.
        brightness, contrast: largest relative change.
    """

    def __init__(self, resolution: int, *, min_crop: float, flip: float, brightness: float, contrast: float) -> None:
        self.resolution, self.flip = resolution, flip
        self.settings = {"min_crop": min_crop, "flip": flip, "brightness": brightness, "contrast": contrast}
        stretch = (0.8, 1.25) if min_crop < 1 else (1.0, 1.0)
        self.steps = [v2.RandomResizedCrop(resolution, scale=(min_crop, 1.0), ratio=stretch, antialias=False)]
        if brightness or contrast:
            self.steps.append(v2.ColorJitter(brightness=brightness, contrast=contrast))

    def shrunk(self) -> "Augmentation":
        """Return the same augmentation at two thirds of the resolution, to a multiple of 8: 0.44 of the computation."""
        return Augmentation(max(8, round(self.resolution / 12) * 8), **self.settings)

    def __call__(self, images: Tensor, first: int = 0, count: int | None = None) -> Tensor:
        """Map uint8 images (N, H, W, 3) to (N, resolution, resolution, 3); draws from torch's global generator.

        Where the images are a part of a batch, from its row `first` on, it draws for all `count` images of the batch:
        then every process that has a part of it draws the same, and each image comes out as in one process.
        """
        count = len(images) if count is None else count
        x = images.permute(0, 3, 1, 2)
        mirrored = torch.rand(count, device=x.device)[first : first + len(x)] < self.flip
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
