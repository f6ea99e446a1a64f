"""Cut channels out of a network."""

from collections.abc import Iterable, Mapping, Sequence, Sized

import torch
from torch import Tensor, nn

from earlyexit.model.architecture import HEAD_STRIDES, Architecture, BlockWidths, Widths
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.pruning.layers import LOGITS, Layer


def sliced(network: EarlyExitNetwork, found: Sequence[Layer], kept: Mapping[str, Tensor]) -> EarlyExitNetwork:
    """Return `network` with some channels of each group.

    What a layer gets from the channels that go is taken for the constant at the centre of their range. It moves into
    the mean of the layer's batch norm, or into the bias of a linear layer.

    Args:
        network: its batch norm not folded. Stays as it is.
        found: its layers.
        kept: the numbers of the channels that stay, ascending, for each group.
    """
    result = EarlyExitNetwork(sliced_architecture(network.architecture, found, kept))
    state = network.state_dict()
    for layer in found:
        state |= _state(layer, kept)
    result.load_state_dict(state)
    return result.train(network.training)


def sliced_architecture(whole: Architecture, found: Iterable[Layer], kept: Mapping[str, Sized]) -> Architecture:
    """Return the architecture of `sliced`; only the number of channels that stay counts."""
    made: dict[str, list[int]] = {}
    for layer in found:
        if layer.makes != LOGITS:
            made.setdefault(layer.name.split(".")[1], []).append(len(kept[layer.makes]))
    widths = Widths(
        stem=made["stem"][-1],
        blocks=[BlockWidths(hidden=made[block.name][-2], channels=made[block.name][-1]) for block in whole.blocks],
        last=made["last"][-1] if "last" in made else None,
    )
    heads = [len(kept[name]) for name in whole.outputs[:-1]] if whole.head in HEAD_STRIDES else whole.head_channels
    pruned = None if widths == whole.backbone.widths() else widths
    return Architecture(**{**dict(whole), "pruned": pruned, "head_channels": heads})


@torch.no_grad()
def _state(layer: Layer, kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what is left of a layer's tensors."""
    given, made = layer.given.centre, len(layer.made.centre)
    inputs = kept.get(layer.reads, torch.arange(len(given)))
    outputs = kept.get(layer.makes, torch.arange(made))
    if isinstance(layer.module, nn.Linear):
        weight, bias = layer.module.weight, layer.module.bias
        moved = bias.double() + _without(weight, given, inputs)
        return {f"{layer.name}.weight": weight[:, inputs], f"{layer.name}.bias": moved.float()}
    weight = layer.module.conv.weight[outputs]
    norm = {f"{layer.name}.norm.{key}": value for key, value in layer.module.norm.state_dict().items()}
    norm = {key: value[outputs] if value.ndim else value for key, value in norm.items()}
    if not layer.depthwise:
        mean = norm[f"{layer.name}.norm.running_mean"]
        norm[f"{layer.name}.norm.running_mean"] = (mean.double() - _without(weight, given, inputs)).float()
        weight = weight[:, inputs]
    return {f"{layer.name}.conv.weight": weight, **norm}


def _without(weight: Tensor, given: Tensor, inputs: Tensor) -> Tensor:
    """Return what the inputs that go, constants of `given`, contribute to each output; (O,), float64."""
    gone = torch.ones(len(given), dtype=torch.bool)
    gone[inputs] = False
    return weight.double().reshape(*weight.shape[:2], -1).sum(2)[:, gone] @ given[gone]
