"""Augmentation of uint8 batches with torchvision.transforms.v2."""

import torch
from torch import Tensor

from earlyexit.vision import v2

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
        self.flip = flip
        self._settings = {"min_crop": min_crop, "flip": flip, "brightness": brightness, "contrast": contrast}
        self._resolution = resolution
        stretch = (0.8, 1.25) if min_crop < 1 else (1.0, 1.0)
        steps = [v2.RandomResizedCrop(resolution, scale=(min_crop, 1.0), ratio=stretch, antialias=False)]
        if brightness or contrast:
            steps.append(v2.ColorJitter(brightness=brightness, contrast=contrast))
        self.steps = v2.Compose(steps)

    def shrunk(self) -> "Augmentation":
        """Return the same augmentation at two thirds of the resolution, to a multiple of 8: 0.44 of the computation."""
        return Augmentation(max(8, round(self._resolution / 12) * 8), **self._settings)

    def __call__(self, images: Tensor) -> Tensor:
        """Map uint8 images (N, H, W, 3) to (N, resolution, resolution, 3); draws from torch's global generator."""
        x = images.permute(0, 3, 1, 2)
        mirrored = torch.rand(len(x), device=x.device) < self.flip
        x = torch.where(mirrored[:, None, None, None], v2.functional.horizontal_flip(x), x)
        x = torch.cat([self.steps(group) for group in torch.split(x, GROUP)])
        return x.permute(0, 2, 3, 1)
