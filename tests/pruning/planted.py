"""Networks with planted channels that have one value for every image."""

import torch
from torch import nn

from earlyexit.model.network import ConvUnit, EarlyExitNetwork
from earlyexit.pruning.layers import layers


def unit(network: EarlyExitNetwork, name: str) -> ConvUnit:
    """The unit of that name."""
    found = network.get_submodule(name)
    assert isinstance(found, ConvUnit)
    return found


@torch.no_grad()
def silence(unit: ConvUnit, channels: list[int], value: float) -> None:
    """Give channels of a unit no weights, and `value` before the activation."""
    norm = unit.norm
    assert isinstance(norm, nn.BatchNorm2d)
    unit.conv.weight[channels] = 0
    norm.get_buffer("running_mean")[channels] = 0
    norm.bias[channels] = value


@torch.no_grad()
def weaken(network: EarlyExitNetwork, group: str, channels: list[int]) -> None:
    """Make the weights that read channels of a group small, so that they are no layer's largest."""
    for layer in layers(network):
        if layer.reads == group and not layer.depthwise:
            weight = layer.module.weight if isinstance(layer.module, nn.Linear) else layer.module.conv.weight
            weight[:, channels] *= 0.01


def makers(network: EarlyExitNetwork, group: str) -> list[ConvUnit]:
    """The convolutions whose outputs form a group, without depthwise ones."""
    found = [layer for layer in layers(network) if layer.makes == group and not layer.depthwise]
    return [unit(network, layer.name) for layer in found]


def plant(network: EarlyExitNetwork, group: str, channels: list[int], value: float) -> None:
    """Silence channels in all convolutions that form a group; depthwise ones make of 0 what they make of it: 0."""
    for layer in layers(network):
        if layer.makes == group and isinstance(layer.module, ConvUnit):
            silence(layer.module, channels, value if not layer.depthwise else -1.0)
