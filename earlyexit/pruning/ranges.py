"""Prove between which values each channel lies, for every image: interval arithmetic, layer by layer."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from earlyexit.model.network import ConvUnit

_UNIT = 2.0**-23  # twice the largest relative error of one float32 operation
_OTHER = 16  # operations of an output beside its products: batch norm, a shortcut's sum


@dataclass(frozen=True)
class Range:
    """What the channels of a tensor can be, at any position and for any image: centre - radius to centre + radius.

    Attributes:
        centre, radius: float64 (C,). The radius is 0 where a channel has one value for every image and position.
    """

    centre: Tensor
    radius: Tensor

    @classmethod
    def between(cls, low: Tensor, high: Tensor) -> "Range":
        """Return the range from `low` to `high`, each (C,)."""
        return cls((low + high) / 2, (high - low) / 2)

    @property
    def constant(self) -> Tensor:
        """Which channels have one value, bool (C,)."""
        return self.radius == 0

    @property
    def all_constant(self) -> bool:
        """Whether every channel has one value."""
        return bool(self.constant.all())

    def __add__(self, other: "Range") -> "Range":
        return Range(self.centre + other.centre, self.radius + other.radius)

    def padded(self) -> "Range":
        """Return the range of the tensor with zeros around it."""
        low, high = self.centre - self.radius, self.centre + self.radius
        return Range.between(low.clamp(max=0), high.clamp(min=0))

    def clamped(self, low: float, high: float) -> "Range":
        """Return the range of the values cut off at `low` and `high`."""
        ends = self.centre - self.radius, self.centre + self.radius
        return Range.between(*(end.clamp(low, high) for end in ends))


@torch.no_grad()
def after_unit(unit: ConvUnit, given: Range) -> Range:
    """Return the range of a unit's output; `given`: of its input.

    The bounds also hold for the float32 sums that PyTorch computes: a channel that varies is given the largest rounding
    error that they can have.
    """
    if unit.kernel > 1:
        given = given.padded()
    norm = unit.norm
    assert isinstance(norm, nn.BatchNorm2d)
    scale = norm.weight.double() / (norm.get_buffer("running_var").double() + norm.eps).sqrt()
    mean, bias = norm.get_buffer("running_mean").double(), norm.bias.double()
    taps = unit.conv.weight.double().flatten(2)
    sums, sizes = taps.sum(2), taps.abs().sum(2)
    radius = scale.abs() * _weighted(sizes, given.radius)
    terms = scale.abs() * (_weighted(sizes, given.centre.abs() + given.radius) + mean.abs()) + bias.abs()
    rounding = (taps[0].numel() + _OTHER) * _UNIT * terms
    centre = scale * (_weighted(sums, given.centre) - mean) + bias
    return _activated(unit.act, Range(centre, torch.where(radius > 0, radius + rounding, radius)))


@torch.no_grad()
def after_linear(linear: nn.Linear, given: Range) -> Range:
    """Return the range of the logits; `given`: of the pooled features, which is that of the features."""
    weight = linear.weight.double()
    return Range(weight @ given.centre + linear.bias.double(), weight.abs() @ given.radius)


def _weighted(weight: Tensor, values: Tensor) -> Tensor:
    """Return the sums of `values` (I,) by `weight`: (O, I), or (I, 1) of a depthwise convolution."""
    return weight @ values if weight.shape[1] == len(values) else weight[:, 0] * values


def _activated(act: nn.Module, made: Range) -> Range:
    if isinstance(act, nn.ReLU6):
        return made.clamped(0, 6)
    return made.clamped(0, float("inf")) if isinstance(act, nn.ReLU) else made
