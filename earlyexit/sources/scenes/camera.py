"""Light and camera: colour cast, vignette, exposure, blur, sensor noise. All blind to what the picture shows."""

import cv2
import numpy as np
from numpy.typing import NDArray

from earlyexit.sources.scenes import settings
from earlyexit.sources.scenes.canvas import SUPERSAMPLE, Canvas
from earlyexit.sources.scenes.dice import Dice
from earlyexit.sources.scenes.texture import grain

Image = NDArray[np.uint8]


def photograph(canvas: Canvas, dice: Dice) -> Image:
    """Return the picture (H, W, 3) uint8 that a camera takes of `canvas`, at 1 / SUPERSAMPLE of its size."""
    size = (canvas.width // SUPERSAMPLE, canvas.height // SUPERSAMPLE)
    small = np.asarray(cv2.resize(canvas.pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    image = _blur(np.ascontiguousarray(small[:, :, :3]), dice)
    image = _light(image, dice, canvas.light)
    image = np.asarray(cv2.LUT(image, _curves(dice)), np.uint8)
    if dice.chance(settings.MONOCHROME):
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        image = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)
    return _noise(image, dice)


def _blur(image: Image, dice: Dice) -> Image:
    sigma = settings.BLUR * dice.random() ** 1.5
    if dice.chance(settings.MOTION):
        length = dice.whole(2, 5)
        kernel = np.eye(length, dtype=np.float32) if dice.chance(0.3) else np.zeros((length, length), np.float32)
        kernel[length // 2] += 1
        image = np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT), np.uint8)
    if sigma < 0.3:
        return image
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), np.uint8)


def _light(image: Image, dice: Dice, light: tuple[float, float]) -> Image:
    """Multiply by a field of light: a slope from `light`, a vignette, clouds of shade."""
    height, width = image.shape[:2]
    x = np.linspace(-1, 1, width, dtype=np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    slope, vignette = dice.uniform(0, 0.22), dice.uniform(0, 0.3) * dice.random()
    field = 1 + slope * (light[0] * x + light[1] * y) - vignette * (x * x + y * y) / 2
    field *= grain(dice, width, height, dice.uniform(0, 0.2), coarse=4).astype(np.float32) / 128
    field = (field * 128).clip(0, 255).astype(np.uint8)
    return np.asarray(cv2.multiply(image, cv2.merge([field, field, field]), scale=1 / 128), np.uint8)


def _curves(dice: Dice) -> NDArray[np.uint8]:
    """Return a table (1, 256, 3): exposure, gamma, contrast, black level, colour cast."""
    gain = 2 ** dice.spread(settings.EXPOSURE)
    gamma, black = dice.uniform(0.8, 1.25), dice.uniform(0, 0.08) * dice.random()
    warm, green = dice.spread(0.12), dice.spread(0.05)
    level = np.linspace(0, 1, 256)
    columns = []
    for cast in (1 + warm, 1 + green, 1 - warm):
        curve = np.power((level * gain * cast).clip(0, 1), gamma)
        columns.append(black + (1 - black) * curve)
    return (np.stack(columns, 1)[None] * 255).clip(0, 255).astype(np.uint8)


def _noise(image: Image, dice: Dice) -> Image:
    """Add sensor noise: grey and coloured, stronger in some pictures than in others."""
    strength = settings.NOISE * dice.random() ** 2
    generator = dice.generator
    # The sum of two bytes' worth of uniform noise is close enough to a normal law, and four times faster.
    raw = generator.integers(0, 256, (2, *image.shape), np.uint8)
    noise = (raw[0].astype(np.float32) + raw[1] - 255) * (strength / 104.5)
    return np.asarray((image + noise).clip(0, 255), np.uint8)
