"""Corruptions of images, one severity each: what a worse camera, worse light or compression does to a picture."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from earlyexit.common.vision import v2

F = v2.functional


@dataclass(frozen=True)
class Corruption:
    """A corruption.

    Attributes:
        words: what it is, with its severity.
        apply: returns the corrupted image; takes and returns uint8 (3, H, W).
    """

    words: str
    apply: Callable[[torch.Tensor], torch.Tensor]


def _noise(image: torch.Tensor) -> torch.Tensor:
    noisy = F.gaussian_noise(F.to_dtype(image, torch.float32, scale=True), sigma=0.03)
    found: torch.Tensor = F.to_dtype(noisy, torch.uint8, scale=True)
    return found


def _jpeg(image: torch.Tensor) -> torch.Tensor:
    # torchvision's own JPEG needs torchvision.io, which earlyexit.common.vision does without.
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=20)
    with Image.open(file, formats=["JPEG"]) as decoded:
        return torch.from_numpy(np.array(decoded)).permute(2, 0, 1)


CORRUPTIONS = {
    "blur": Corruption("Gaussian blur, sigma 1 pixel", lambda image: F.gaussian_blur(image, [7, 7], [1.0, 1.0])),
    "noise": Corruption("Gaussian noise, sigma 3 % of the range of a pixel", _noise),
    "darkness": Corruption("half the pixel values", lambda image: F.adjust_brightness(image, 0.5)),
    "overexposure": Corruption("twice the pixel values, clipped", lambda image: F.adjust_brightness(image, 2.0)),
    "low contrast": Corruption("half the contrast", lambda image: F.adjust_contrast(image, 0.5)),
    "JPEG": Corruption("compressed with quality 20", _jpeg),
    "hue": Corruption("colours turned by a quarter of the circle", lambda image: F.adjust_hue(image, 0.25)),
}
"""All corruptions by name. They work on images of the network's resolution."""


def corrupted(name: str, image: np.ndarray, image_id: int) -> np.ndarray:
    """Return an image under the corruption `name`; the same id gives the same noise, whatever ran before.

    Args:
        name: a key of `CORRUPTIONS`.
        image: uint8 (H, W, 3).
        image_id: seeds the random numbers.

    Returns:
        uint8 (H, W, 3).
    """
    pixels = torch.from_numpy(np.moveaxis(image, 2, 0).copy())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(image_id)
        return CORRUPTIONS[name].apply(pixels).permute(1, 2, 0).numpy()
