"""Requantization with one rounding that gives TensorFlow Lite's bytes for every sum that can occur.

TensorFlow Lite rounds a sum twice. An output has 256 values, so this maps sums to outputs by a staircase of at most 255
steps. For each output channel a straight line is searched that, rounded once, reaches each step at the same sum:

    sum = start + 2^scale * (weights * inputs, added up)
    output = clip((round(sum * multiplier / 2^32) + offset - (sum < 0 ? step : 0)) / 2^shift)

TensorFlow Lite rounds halves away from zero, so steps below zero lie one unit of its first rounding higher: `step`. The
scale costs nothing where the DSP code widens activations to 16 bits, and its bits below the bias place the line finely.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from earlyexit.firmware import fixed_point
from earlyexit.firmware.layers import Add, Depthwise, Window

RECTIFIED_SHIFT = 12  # EE_RECTIFIED_SHIFT in ee_kernels.h
SCALE = 8  # the least of weights of eight bits: activations as the upper bytes of 16-bit numbers
_MOST_SHIFT = 20  # of layers that are not rectified
_MORE_SCALE = 6  # of depthwise convolutions, whose weights are widened to 16 bits: 127 * 2^6 fits
_DEEPEST = 22  # TensorFlow Lite's largest shift to the right for which 64 bits suffice below
_TRIES, _SIGNED_TRIES = 97, 401  # multipliers that are tried, in rectified and other layers
_APART = 4  # of these, how many change the line by less than one unit at the largest sum
_OFFSETS = 24  # that are tried for a rectified layer
_SUM_SHIFT = 20  # as in ee_sum
_STEPS = np.array([0, 1, -1, 2, -2])  # added to the nominal step, in turn
_SUM_TRIES = 3  # starts that are tried on both sides of the nearest


Staircase = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Outputs with sums at which a line must have reached them, and outputs with sums at which it must be below them. Each
output stands in one or both, with the sums nearest to its step; so the lowest and the highest sum are covered."""


@dataclass(frozen=True, eq=False)
class Lines:
    """The lines of a layer; int64 and bool arrays, one value a channel.

    Attributes:
        rectified: whether the shift is RECTIFIED_SHIFT, all offsets are equal, and all steps 0.
        shift: of all channels.
        scales, starts, multipliers, offsets, steps: see above.
        constant: whether the channel has the same output for all inputs; the line then holds for weights of zero.
        equal: whether the line gives TensorFlow Lite's bytes; the other channels need its own arithmetic.
    """

    rectified: bool
    shift: int
    scales: np.ndarray
    starts: np.ndarray
    multipliers: np.ndarray
    offsets: np.ndarray
    steps: np.ndarray
    constant: np.ndarray
    equal: np.ndarray


def least_scale(layer: Window) -> int:
    """Return the least scale of the layer's lines. Convolutions take weights of four bits 16 times as large."""
    return SCALE if isinstance(layer, Depthwise) else SCALE + 8 - layer.bits


@lru_cache(maxsize=256)
def lines(layer: Window) -> Lines:
    """Return the lines of the layer's channels: those of the shift and offset that suit the most channels."""
    wide = layer.weights.astype(np.int64)
    axes = (0, 1) if isinstance(layer, Depthwise) else (1, 2, 3)
    up, down = np.maximum(wide, 0).sum(axes), np.minimum(wide, 0).sum(axes)
    lows, highs = layer.bias + 127 * down - 128 * up, layer.bias + 127 * up - 128 * down
    least = least_scale(layer)
    scales = range(least, least + 1 + (_MORE_SCALE + 8 - layer.bits if isinstance(layer, Depthwise) else 0))
    # A multiplier has 31 bits, so the largest factor limits the shift; a few channels may be too large for it.
    rights = np.sort(-layer.shifts)
    limits = [least - 1 + int(rights[number]) for number in (0, len(rights) // 16)]
    rectified = layer.zero_point == -128 and (isinstance(layer, Depthwise) or limits[1] >= RECTIFIED_SHIFT)
    if rectified:
        # One offset serves all channels; where one of them has no line for it, another offset may do.
        tries = [(RECTIFIED_SHIFT, moved) for moved in range(_OFFSETS)]
    else:
        tries = [(min(max(limit, 1), _MOST_SHIFT), 0) for limit in limits]
    columns = [x.tolist() for x in (layer.multipliers, -layer.shifts, layer.bias, lows, highs)]
    best: Lines | None = None
    for shift, moved in tries:
        channels = [
            _Channel(layer.zero_point, shift, moved, rectified, *channel) for channel in zip(*columns, strict=True)
        ]
        arrays = np.array([_line(channel, scales) for channel in channels], np.int64).reshape(-1, 7).T
        found = Lines(rectified, shift, *arrays[:5], *arrays[5:].astype(bool))
        if best is None or found.equal.sum() > best.equal.sum():
            best = found
        if best.equal.all():
            break
    assert best is not None
    return best


def sum_lines(layer: Add, order: tuple[int, int]) -> tuple[int, int, int]:
    """Return a_line, b_line and start of ee_sum, for the inputs in this `order`; zeros where none are found."""
    values = np.arange(-128, 128)
    inputs = [values[:, None], values[None]]
    parts = [
        fixed_point.requantize((x - layer.in_zero_points[n]) << fixed_point.ADD_LEFT_SHIFT, multiplier, shift)
        for x, n in zip(inputs, order, strict=True)
        for multiplier, shift in [(layer.in_multipliers[n], layer.in_shifts[n])]
    ]
    found = fixed_point.requantize(parts[0] + parts[1], layer.multiplier, layer.shift) + layer.zero_point
    expected = np.clip(found, layer.low, layer.high)
    bits = fixed_point.ADD_LEFT_SHIFT + layer.shift - 62 + _SUM_SHIFT + 8
    slopes = [round(layer.in_multipliers[n] * layer.multiplier * 2.0 ** (layer.in_shifts[n] + bits)) for n in order]
    zero = sum(slope * layer.in_zero_points[n] / 2**8 for slope, n in zip(slopes, order, strict=True))
    nearest = round((layer.zero_point + 0.5) * 2**_SUM_SHIFT - zero)
    reach = abs(nearest) + sum(slopes) / 2
    if not 0 < min(slopes) <= max(slopes) < 2**31 or reach >= 2**31:
        return 0, 0, 0
    first, second = ((slope * (x << 24) + 2**31) >> 32 for slope, x in zip(slopes, inputs, strict=True))
    for moved in range(-_SUM_TRIES, _SUM_TRIES + 1):
        outputs = np.clip((first + second + nearest + moved) >> _SUM_SHIFT, -128, 127)
        if np.array_equal(outputs, expected):
            return slopes[0], slopes[1], nearest + moved
    return 0, 0, 0


@dataclass(frozen=True)
class _Channel:
    """A channel of a layer.

    Attributes:
        zero_point: of the output.
        shift, rectified: of the line.
        moved: by how much the line's offset differs from the zero point and a half.
        multiplier, right, bias: TensorFlow Lite's; `right` is its shift to the right.
        low, high: the least and the greatest sum.
    """

    zero_point: int
    shift: int
    moved: int
    rectified: bool
    multiplier: int
    right: int
    bias: int
    low: int
    high: int


def _line(channel: _Channel, scales: range) -> tuple[int, ...]:
    """Return a row of `Lines`: scale, start, multiplier, offset, step, constant, equal."""
    c = channel
    offset = ((2 * c.zero_point + 1) << (c.shift - 1)) + c.moved
    nothing = (scales[0], 0, 0, offset, 0, 0, 0)
    if not -(2**31) <= c.low << max(-c.right, 0) <= c.high << max(-c.right, 0) < 2**31:
        return nothing
    least, most = (_output(total, c.multiplier, c.right, c.zero_point) for total in (c.low, c.high))
    if least == most:
        return scales[0], (least - c.zero_point) << (c.shift + 2), 2**30, offset, 0, 1, 1
    furthest = max(abs(c.low), abs(c.high))
    if c.right > _DEEPEST or furthest * c.multiplier * 2.0 ** (c.shift - c.right - 31) + 2.0 ** (c.shift + 9) >= 2**31:
        return nothing
    unit = 0 if c.zero_point == -128 else round(2.0 ** (c.shift - c.right))
    staircase = _staircase(c)
    for scale in scales:
        nominal = round(c.multiplier * 2.0 ** (c.shift + 1 - scale - c.right))
        if furthest << scale >= 2**31 or not 0 < nominal < 2**31:
            continue
        apart = max(1, nominal // (_APART * furthest << scale))
        for numbers in _batches(_TRIES if c.rectified else _SIGNED_TRIES):
            # The first number is the nominal line; from there both ways, in other places of the staircase.
            multipliers = nominal + np.where(numbers % 2, -1, 1) * ((numbers + 1) // 2) * apart
            moved = offset + (0 if c.rectified else np.where(numbers, numbers * 7 % 31 - 15, 0))
            steps = np.maximum(0, unit + _STEPS[numbers % 5]) if unit else np.zeros_like(numbers)
            tried = (multipliers, np.broadcast_to(moved, numbers.shape), steps)
            if line := _first_line(c, staircase, scale, [x[(multipliers > 0) & (multipliers < 2**31)] for x in tried]):
                return *line, 0, 1
    return nothing


def _batches(count: int) -> list[np.ndarray]:
    """Return the numbers below `count` in three batches of growing size: most often one of the first gives a line."""
    return np.split(np.arange(count), [1, 16])


def _first_line(channel: _Channel, staircase: Staircase, scale: int, tried: list[np.ndarray]) -> tuple[int, ...] | None:
    """Return the first line that climbs the staircase: scale, start, multiplier, offset, step.

    Args:
        channel: of a layer.
        staircase: of the channel.
        scale: of the line.
        tried: multipliers, offsets and steps, (N,) each.
    """
    c, (multipliers, offsets, steps) = channel, tried
    slopes, below = multipliers[:, None], (steps << 32)[:, None]
    needed = [
        (levels << (32 + c.shift))
        - (1 << 31)
        - (offsets << 32)[:, None]
        + np.where(sums > 0, 0, below)
        - (sums << scale) * slopes
        for levels, sums in staircase
    ]
    lower, upper = needed[0].max(1), needed[1].min(1)
    starts = (-(-lower // multipliers) - upper // -multipliers - 1) // 2
    fits = (max(abs(c.low), abs(c.high)) << scale) + np.abs(starts) < 2**31
    for (levels, sums), reached in zip(staircase, (True, False), strict=True):
        totals = (sums << scale) + starts[:, None]
        heights = (
            totals * slopes + ((offsets[:, None] - np.where(totals < 0, steps[:, None], 0)) << 32) + (1 << 31)
        ) >> 32
        fits &= (((heights >> c.shift) >= levels) == reached).all(1)
    if not fits.any():
        return None
    n = int(fits.argmax())
    return scale, (c.bias << scale) + int(starts[n]), int(multipliers[n]), int(offsets[n]), int(steps[n])


def _output(total: int, multiplier: int, right: int, zero_point: int) -> int:
    """Return TensorFlow Lite's output for one sum."""
    high = ((total << max(-right, 0)) * multiplier + 2**30) >> 31
    mask = (1 << max(right, 0)) - 1
    value = (high >> max(right, 0)) + ((high & mask) > (mask >> 1) + (high < 0)) + zero_point
    return min(max(value, -128), 127)


def _staircase(channel: _Channel) -> Staircase:
    """Return what TensorFlow Lite's outputs ask of a line."""
    c = channel
    values = np.arange(-127, 128) - c.zero_point
    highs = values if c.right <= 0 else (values << c.right) - (1 << (c.right - 1)) + (values <= 0)
    sums = -((-(highs << 31) + (1 << 30)) // (c.multiplier << max(-c.right, 0)))  # the first that give these values
    levels, given, above = values + c.zero_point, sums <= c.high, sums > c.low
    return (levels[given], np.maximum(sums[given], c.low)), (levels[above], np.minimum(sums[above] - 1, c.high))
