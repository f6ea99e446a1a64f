"""Noise textures: tiles made once, of which every scene cuts its own pieces."""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from earlyexit.sources.scenes.canvas import Canvas
from earlyexit.sources.scenes.dice import Dice

TILE = 512
_KEY = 7_301


@cache
def tiles() -> tuple[NDArray[np.uint8], ...]:
    """Return tiles (TILE, TILE) uint8 of mean 128, from fine grain to large clouds."""
    generator = np.random.default_rng(_KEY)
    made = []
    for sigmas in ((0.7,), (1.5, 0.7), (4.0, 1.2), (10.0, 3.0, 1.0), (24.0, 8.0, 2.0)):
        total = np.zeros((TILE, TILE), np.float32)
        for sigma in sigmas:
            white = generator.standard_normal((TILE, TILE), np.float32)
            noise = cv2.GaussianBlur(white, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
            total += noise / noise.std() * sigma**0.5
        total = total / total.std() * np.float32(40) + np.float32(128)
        made.append(total.clip(0, 255).astype(np.uint8))
    return tuple(made)


def grain(
    dice: Dice, width: int, height: int, amount: float, *, coarse: int, stretch: float = 1.0
) -> NDArray[np.uint8]:
    """Return a piece of texture (height, width) uint8 around 128, `amount` (0 to 1) times its full contrast.

    `coarse` is 0 (grain) to 4 (clouds); `stretch` above 1 makes it longer across than down: wood, water, roads.
    """
    zoom = dice.uniform(0.5, 1.0)
    wide = min(int(width * zoom / stretch) + 8, TILE)
    high = min(int(height * zoom) + 8, TILE)
    left, top = dice.whole(0, TILE - wide), dice.whole(0, TILE - high)
    piece = tiles()[coarse][top : top + high, left : left + wide]
    scaled = cv2.resize(piece, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.convertScaleAbs(scaled, alpha=amount, beta=128 * (1 - amount)), np.uint8)


def roughen(
    canvas: Canvas, dice: Dice, top: float, bottom: float, amount: float, coarse: int, stretch: float = 1.0
) -> None:
    """Multiply the rows from `top` to `bottom` by a texture."""
    first, last = max(int(top), 0), min(int(bottom), canvas.height)
    if last - first < 2:
        return
    piece = grain(dice, canvas.width, last - first, amount, coarse=coarse, stretch=stretch)
    rows = canvas.pixels[first:last]
    cv2.multiply(rows, cv2.merge([piece, piece, piece, piece]), dst=rows, scale=1 / 128)
