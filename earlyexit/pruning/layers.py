"""The layers of a network in the order of the forward pass: which channels they share, and what these can be."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from earlyexit.model.network import Classifier, ConvUnit, EarlyExitNetwork
from earlyexit.pruning.ranges import Range, after_linear, after_unit

IMAGE = "image"
"""The group of the input's channels."""
LOGITS = "logits"
"""The group of each classifier's outputs."""


@dataclass(frozen=True)
class Layer:
    """One layer, and the groups of channels at its two ends. The channels of a group stay or go together.

    A group holds the output of a convolution, what depthwise convolutions make of it, and all outputs that shortcuts
    add to each other.

    Attributes:
        name: of the module in the network, such as "blocks.block2.layers.0".
        module: its weights.
        reads, makes: groups of its input and output, named after the layer that starts them: "stem", "block2.hidden",
            "block2", "last", "exit1".
        depthwise: whether each output channel reads one input channel; `reads` and `makes` are then one group.
        given, made: the ranges of its input and output, the output without what a shortcut adds.
        fixed: whether its output is the same for every image, though not at every position.
    """

    name: str
    module: ConvUnit | nn.Linear
    reads: str
    makes: str
    depthwise: bool
    given: Range
    made: Range
    fixed: bool


def layers(network: EarlyExitNetwork) -> list[Layer]:
    """Return all layers of `network`, each exit's behind the block that it follows."""
    return list(_walk(network))


def widths(found: Iterable[Layer]) -> dict[str, int]:
    """Return the number of channels of each group but the classifiers' outputs."""
    return {layer.makes: len(layer.made.centre) for layer in found if layer.makes != LOGITS}


@dataclass(frozen=True)
class _Flow:
    """A tensor on its way through the network."""

    group: str
    range: Range
    fixed: bool = False


def _walk(network: EarlyExitNetwork) -> Iterator[Layer]:
    low, high = network.architecture.pixels.range
    ones = torch.ones(3, dtype=torch.float64)
    x = _Flow(IMAGE, Range.between(low * ones, high * ones))
    shortcuts = {block.name for block in network.architecture.blocks if block.shortcut}
    exits = dict(zip(network.architecture.exits, enumerate(network.exits), strict=True))
    for name, part in network.blocks.items():
        *inner, last = [(path, unit) for path, unit in part.named_modules() if isinstance(unit, ConvUnit)]
        y = x
        for path, unit in inner:
            layer = _layer(f"blocks.{name}.{path}", unit, y, f"{name}.hidden")
            yield layer
            y = _Flow(layer.makes, layer.made, layer.fixed)
        path, unit = last
        layer = _layer(f"blocks.{name}.{path}".removesuffix("."), unit, y, x.group if name in shortcuts else name)
        yield layer
        if name in shortcuts:
            x = _Flow(layer.makes, x.range + layer.made, x.fixed and layer.fixed)
        else:
            x = _Flow(layer.makes, layer.made, layer.fixed)
        if name in exits:
            index, head = exits[name]
            yield from _head(f"exits.{index}", f"exit{index + 1}", head, x)
    yield from _head("classifier", "final", network.classifier, x)


def _head(path: str, name: str, head: nn.Module, x: _Flow) -> Iterator[Layer]:
    assert isinstance(head, Classifier)
    for inner, unit in head.conv.named_modules():
        if isinstance(unit, ConvUnit):
            layer = _layer(f"{path}.conv.{inner}", unit, x, name)
            yield layer
            x = _Flow(layer.makes, layer.made, layer.fixed)
    made = after_linear(head.linear, x.range)
    yield Layer(f"{path}.linear", head.linear, x.group, LOGITS, False, x.range, made, x.fixed or made.all_constant)


def _layer(name: str, unit: ConvUnit, x: _Flow, group: str) -> Layer:
    """Return a unit as a layer; `group`: of its output, unless it is depthwise."""
    depthwise = unit.kernel > 1 and x.group != IMAGE
    makes = x.group if depthwise else group
    made = after_unit(unit, x.range)
    return Layer(name, unit, x.group, makes, depthwise, x.range, made, x.fixed or made.all_constant)
