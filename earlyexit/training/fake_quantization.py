"""Quantization-aware training: a network that rounds as its integer file will, so that training can make up for it.

After Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference". Weights are rounded to 2^bits - 1 steps around 0, by the scale of the largest one. Activations are rounded
to 256 steps of a range that follows each batch's smallest and largest value. Gradients pass through the rounding
unchanged, by PyTorch's operators.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from earlyexit.model.network import ConvUnit, EarlyExitNetwork, InvertedResidual
from earlyexit.training import distributed

LOWEST, HIGHEST = -128, 127
RATE = 0.01
"""How far a step moves a range towards the batch's smallest and largest value; the first step moves it all the way."""

_SMALLEST_SCALE = 1e-9  # as in ai-edge-quantizer


class FakeQuantizedWeights(nn.Module):
    """Round a layer's weights, as ai-edge-quantizer does.

    Args:
        bits: of an integer weight, 8 or 4.
        per_channel: whether each output channel has a scale of its own.
    """

    def __init__(self, bits: int, per_channel: bool) -> None:
        super().__init__()
        self.per_channel = per_channel
        self.top = 2 ** (bits - 1) - 1

    def forward(self, weight: Tensor) -> Tensor:
        """Return `weight`, (outputs, ...), each value a multiple of its scale."""
        sizes = weight.detach().abs()
        largest = sizes.flatten(1).amax(1) if self.per_channel else sizes.amax()
        scale = largest.clamp_min(_SMALLEST_SCALE) / self.top
        zero = torch.zeros_like(scale, dtype=torch.int32)
        if self.per_channel:
            return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -self.top, self.top)
        return torch.fake_quantize_per_tensor_affine(weight, scale, zero, -self.top, self.top)


class FakeQuantizedActivations(nn.Module):
    """Round activations to 256 steps of a range that is learned in training mode, and stays in eval mode.

    Args:
        steps: of training, after which the range stays.
        given: the range, where it is known; then nothing is learned.
    """

    low: Tensor
    high: Tensor
    seen: Tensor

    def __init__(self, steps: int, given: tuple[float, float] | None = None) -> None:
        super().__init__()
        low, high = given or (0.0, 0.0)
        self.steps = 0 if given else steps
        self.register_buffer("low", torch.tensor(low))
        self.register_buffer("high", torch.tensor(high))
        self.register_buffer("seen", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` in float32, each value one of the 256; values outside the range are cut off."""
        x = x.float()  # under autocast, it may be narrower
        if self.training and self.steps:
            self._follow(x.detach())
        return torch.fake_quantize_per_tensor_affine(x, *self.grid(), LOWEST, HIGHEST)

    def grid(self) -> tuple[Tensor, Tensor]:
        """Return scale (float32) and zero point (int32) of the range, which includes 0 so that padding is exact."""
        low, high = self.low.clamp(max=0), self.high.clamp(min=0)
        scale = (high - low).clamp_min(_SMALLEST_SCALE) / (HIGHEST - LOWEST)
        return scale, (LOWEST - low / scale).round().to(torch.int32)

    @torch.no_grad()
    def _follow(self, x: Tensor) -> None:
        ends = torch.stack([x.amax(), -x.amin()]) if x.numel() else x.new_full((2,), -torch.inf)
        high, low = distributed.largest(ends) * torch.tensor([1, -1], device=x.device)
        # Numbers on the device, not branches: reading one would wait for the GPU.
        share = torch.where(self.seen == 0, 1.0, RATE) * (self.seen < self.steps)
        self.low.lerp_(low, share)
        self.high.lerp_(high, share)
        self.seen += 1


def fake_quantized(network: EarlyExitNetwork, bits: int, per_channel: bool, steps: int) -> EarlyExitNetwork:
    """Make `network` round as its integer file will; return the network itself.

    All weights are rounded, and the input, the output of every convolution after its activation, of every shortcut's
    sum and of the pooling, and the logits. Weights of convolutions get `bits`, those of linear layers 8.

    Args:
        network: folded; it can be trained, but not saved as a checkpoint: see `settled`.
        bits, per_channel: as `FakeQuantizedWeights` takes them.
        steps: as `FakeQuantizedActivations` takes them.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ConvUnit):
                _round_weights(child.conv, bits, per_channel)
                parent.register_module(name, nn.Sequential(child, FakeQuantizedActivations(steps)))
            elif isinstance(child, nn.Linear):
                _round_weights(child, 8, per_channel)
                pooled, logits = FakeQuantizedActivations(steps), FakeQuantizedActivations(steps)
                parent.register_module(name, nn.Sequential(pooled, child, logits))
            elif isinstance(child, InvertedResidual) and child.shortcut:
                parent.register_module(name, nn.Sequential(child, FakeQuantizedActivations(steps)))
    stem = network.blocks["stem"]
    image = FakeQuantizedActivations(steps, network.architecture.pixels.range)
    network.blocks["stem"] = nn.Sequential(image, *stem.children())
    return network


@torch.no_grad()
def settled(network: EarlyExitNetwork) -> EarlyExitNetwork:
    """Return the result of `fake_quantized` as a plain network: the rounded weights, and no rounding in it.

    Its batch norm, once folded, changes no weight.
    """
    plain = EarlyExitNetwork(network.architecture)
    for unit, trained in zip(_units(plain), _units(network), strict=True):
        unit.conv.weight.copy_(trained.conv.weight)
        assert isinstance(unit.norm, nn.BatchNorm2d) and trained.conv.bias is not None
        unit.norm.bias.copy_(trained.conv.bias)
        unit.norm.get_buffer("running_var").fill_(1 - unit.norm.eps)
    for linear, trained_linear in zip(_linears(plain), _linears(network), strict=True):
        linear.weight.copy_(trained_linear.weight)
        linear.bias.copy_(trained_linear.bias)
    return plain


def learned_ranges(network: EarlyExitNetwork) -> list[list[tuple[float, float]]]:
    """Return for each segment the range of its input and of the output of each operator, in order of execution.

    Args:
        network: the result of `fake_quantized`, trained.

    Raises:
        ValueError: a range is empty or not finite; names the layer.
    """
    names = {module: name for name, module in network.named_modules()}
    ranges: list[list[tuple[float, float]]] = []
    features: FakeQuantizedActivations | None = None
    for segment in network.segments():
        inside = list(_roundings(segment.blocks))
        every = [*inside, *_roundings(segment.head)]
        if features is not None:
            every.insert(0, features)
        ranges.append([_range(rounding, names[rounding]) for rounding in every])
        features = inside[-1]
    return ranges


def _range(rounding: FakeQuantizedActivations, name: str) -> tuple[float, float]:
    low, high = float(rounding.low), float(rounding.high)
    if not (torch.isfinite(rounding.low) and torch.isfinite(rounding.high) and min(low, 0) < max(high, 0)):
        raise ValueError(f"{name}: its values range from {low:g} to {high:g}, so they have no scale; train again")
    scale, zero = rounding.grid()
    # As the file's quantizer will see them: the values of the smallest and the largest integer.
    return tuple(float((end - zero) * scale) for end in (LOWEST, HIGHEST))  # type: ignore[return-value]


def _round_weights(layer: nn.Module, bits: int, per_channel: bool) -> None:
    parametrize.register_parametrization(layer, "weight", FakeQuantizedWeights(bits, per_channel))


def _units(network: nn.Module) -> Iterator[ConvUnit]:
    return (module for module in network.modules() if isinstance(module, ConvUnit))


def _linears(network: nn.Module) -> Iterator[nn.Linear]:
    return (module for module in network.modules() if isinstance(module, nn.Linear))


def _roundings(part: nn.Module) -> Iterator[FakeQuantizedActivations]:
    return (module for module in part.modules() if isinstance(module, FakeQuantizedActivations))
