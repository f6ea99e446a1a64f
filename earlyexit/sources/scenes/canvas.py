"""What is drawn on: a picture at twice its size whose fourth channel says which object owns a pixel."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from earlyexit.sources.scenes.palette import Colour, shade

Point = tuple[float, float]

SUPERSAMPLE = 2
"""Canvas pixels to a pixel of the picture, each way: drawing without anti-aliasing, then halving, is the fastest."""

# The three colour bytes of a pixel seen as one word.
_COLOURS = np.frombuffer(bytes((255, 255, 255, 0)), np.uint32)[0]
_SHIFT = 4
_ONE = 1 << _SHIFT
_ROUND = [(math.cos(k * math.pi / 6 + math.pi / 2), math.sin(k * math.pi / 6 + math.pi / 2)) for k in range(7)]
_COARSE = [(math.cos(k * math.pi / 3 + math.pi / 2), math.sin(k * math.pi / 3 + math.pi / 2)) for k in range(4)]
_TURN = [(math.cos(k * math.pi / 10), math.sin(k * math.pi / 10)) for k in range(20)]


class Extent(NamedTuple):
    """Upright box of an object's pixels, canvas pixels, and their number."""

    x: int
    y: int
    width: int
    height: int
    pixels: int


class Canvas:
    """Pixels (H, W, 4) uint8: red, green, blue, owner. Lengths are canvas pixels; x to the right, y down.

    `owner` is the number that the next shapes write into the fourth channel; 0 is the background.
    `light` is the direction in the picture that light comes from, a unit vector.
    """

    def __init__(self, width: int, height: int, light: Point = (-0.6, -0.8)) -> None:
        self.width = width
        self.height = height
        self.light = light
        self.owner = 0
        self.pixels = np.zeros((height, width, 4), np.uint8)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon, which may be concave."""
        cv2.fillPoly(self.pixels, [_fixed(points)], self._paint(colour), cv2.LINE_8, _SHIFT)

    def convex(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a convex polygon."""
        cv2.fillConvexPoly(self.pixels, _fixed(points), self._paint(colour), cv2.LINE_8, _SHIFT)

    def hull(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill the convex hull of `points`."""
        cv2.fillConvexPoly(self.pixels, cv2.convexHull(_fixed(points)), self._paint(colour), cv2.LINE_8, _SHIFT)

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        """Fill an upright rectangle."""
        self.convex(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), colour)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """Draw an open line through `points`."""
        thick = max(1, round(width))
        cv2.polylines(self.pixels, [_fixed(points)], False, self._paint(colour), thick, cv2.LINE_8, _SHIFT)

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """Fill a circle."""
        centre = (int(x * _ONE), int(y * _ONE))
        cv2.circle(self.pixels, centre, max(int(radius * _ONE), 8), self._paint(colour), -1, cv2.LINE_8, _SHIFT)

    def ball(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """Fill a circle lit from `light`."""
        self.disc(x, y, radius, shade(colour, 0.72))
        if radius < 2:
            return
        light_x, light_y = self.light
        self.disc(x + light_x * radius * 0.14, y + light_y * radius * 0.14, radius * 0.84, colour)
        self.disc(x + light_x * radius * 0.32, y + light_y * radius * 0.32, radius * 0.42, shade(colour, 1.12))

    def ellipse(self, x: float, y: float, across: Point, along: Point, colour: Colour) -> None:
        """Fill an ellipse given by its two half axes, vectors."""
        self.convex(oval(x, y, across, along), colour)

    def limb(self, start: Point, end: Point, start_radius: float, end_radius: float, colour: Colour) -> None:
        """Fill a capsule from `start` to `end`, each end with its radius, lit from `light`."""
        self.convex(capsule(start, end, start_radius, end_radius), shade(colour, 0.7))
        radius = max(start_radius, end_radius)
        if radius < 1.5:
            return
        shift_x, shift_y = self.light[0] * radius * 0.22, self.light[1] * radius * 0.22
        start, end = (start[0] + shift_x, start[1] + shift_y), (end[0] + shift_x, end[1] + shift_y)
        self.convex(capsule(start, end, start_radius * 0.74, end_radius * 0.74), colour)

    def gradient(self, top: float, bottom: float, upper: Colour, lower: Colour) -> None:
        """Fill the rows from `top` to `bottom` with a vertical gradient, in the background's name."""
        first, last = max(round(top), 0), min(round(bottom), self.height)
        if first >= last:
            return
        share = ((np.arange(first, last) - top) / max(bottom - top, 1))[:, None]
        rows = np.zeros((last - first, 4), np.uint8)
        rows[:, :3] = np.asarray(upper) * (1 - share) + np.asarray(lower) * share
        # One 32-bit word a pixel: twenty times faster than three strided bytes.
        self.pixels.view(np.uint32)[first:last, :, 0] = rows.view(np.uint32)

    def shadow(self, x: float, y: float, half_width: float, half_height: float, strength: float) -> None:
        """Darken a soft ellipse by `strength` (0 to 1) at its centre."""
        left, right = max(int(x - half_width), 0), min(int(x + half_width) + 1, self.width)
        top, bottom = max(int(y - half_height), 0), min(int(y + half_height) + 1, self.height)
        if left >= right or top >= bottom:
            return
        across = ((np.arange(left, right, dtype=np.float32) - x) / max(half_width, 1)) ** 2
        along = ((np.arange(top, bottom, dtype=np.float32) - y) / max(half_height, 1)) ** 2
        keep = 1 - strength * np.clip(1 - across - along[:, None], 0, 1)
        patch = self.pixels[top:bottom, left:right, :3]
        patch[:] = (patch * keep[:, :, None]).astype(np.uint8)

    def blur(self, sigma: float) -> None:
        """Blur all that is drawn so far: it is out of focus."""
        self.pixels = np.asarray(cv2.GaussianBlur(self.pixels, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), np.uint8)

    def fade(self, contrast: float) -> None:
        """Bring all that is drawn so far, in the background's name, closer to its mean grey: contrast 1 keeps it."""
        mean = sum(cv2.mean(self.pixels)[:3]) / 3
        faded = cv2.convertScaleAbs(self.pixels, alpha=contrast, beta=mean * (1 - contrast))
        self.pixels = np.asarray(faded, np.uint8)
        self.pixels.view(np.uint32)[...] &= _COLOURS

    def visible(self) -> Callable[[int], Extent | None]:
        """Return a function that says what an owner owns now, or None where it owns no pixel."""
        owners = cv2.extractChannel(self.pixels, 3)

        def extent(owner: int) -> Extent | None:
            mask = cv2.inRange(owners, owner, owner)
            x, y, width, height = cv2.boundingRect(mask)
            return Extent(x, y, width, height, cv2.countNonZero(mask)) if width else None

        return extent

    def _paint(self, colour: Colour) -> tuple[float, float, float, float]:
        return (*colour, self.owner)


def capsule(start: Point, end: Point, start_radius: float, end_radius: float) -> list[Point]:
    """Return the outline of a capsule."""
    along_x, along_y = end[0] - start[0], end[1] - start[1]
    length = math.hypot(along_x, along_y) or 1.0
    along_x, along_y = along_x / length, along_y / length
    points = []
    arc = _COARSE if start_radius + end_radius < 12 else _ROUND
    for (x, y), radius, sign in ((start, start_radius, 1), (end, end_radius, -1)):
        ax, ay = along_x * radius * sign, along_y * radius * sign
        points += [(x + ax * c - ay * s, y + ay * c + ax * s) for c, s in arc]
    return points


def oval(x: float, y: float, across: Point, along: Point) -> list[Point]:
    """Return the outline of an ellipse given by its two half axes, vectors."""
    return [(x + across[0] * c + along[0] * s, y + across[1] * c + along[1] * s) for c, s in _TURN]


def _fixed(points: Sequence[Point]) -> NDArray[np.int32]:
    return (np.array(points) * _ONE).astype(np.int32)
