"""How much each channel of a trained network matters: by its batch norm, or by what the loss would lose without it."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from earlyexit.model.inference import BATCH, normalized_batches
from earlyexit.model.network import ConvUnit, EarlyExitNetwork
from earlyexit.pruning.layers import LOGITS, Layer, layers


def by_scale(network: EarlyExitNetwork) -> dict[str, Tensor]:
    """Return for each group the sum of the scales of batch norm, |gamma|, of each channel (after Liu et al. 2017)."""
    gates = _gates(network)
    return {name: torch.stack([norm.weight.detach().abs() for norm in inside]).sum(0) for name, inside in gates.items()}


def by_loss(
    network: EarlyExitNetwork, images: np.ndarray, labels: np.ndarray, device: torch.device
) -> dict[str, Tensor]:
    """Return for each group the importance of each channel: the change of the loss without it, squared, to first order.

    Molchanov et al. 2019, "Importance Estimation for Neural Network Pruning", with a gate behind each batch norm: its
    gradient is that of gamma times gamma plus that of beta times beta. Gates of one group are added before squaring,
    and squares of batches are added.

    Args:
        network: without exits; moved to `device`. Its weights stay, its gradients do not.
        images: uint8 (N, H, W, 3), to learn from.
        labels: (N,), int64.
        device: where to compute.
    """
    gates = _gates(network.cpu())
    network.to(device)
    found = {name: torch.zeros(len(inside[0].weight)) for name, inside in gates.items()}
    was_training = network.training
    network.eval()
    answers = torch.split(torch.tensor(labels, device=device), BATCH)
    for x, expected in zip(normalized_batches(network, images, device), answers, strict=True):
        network.zero_grad()
        F.cross_entropy(network(x)[-1], expected).backward()  # type: ignore[no-untyped-call]
        for name, inside in gates.items():
            found[name] += torch.stack([_change(norm) for norm in inside]).sum(0).square().cpu()
    network.zero_grad()
    network.train(was_training)
    return found


def _gates(network: EarlyExitNetwork) -> dict[str, list[nn.BatchNorm2d]]:
    """Return the batch norm of the last layers that make each group.

    A depthwise convolution is behind the layer that it reads, so it alone counts.
    """
    made = [layer for layer in layers(network) if layer.makes != LOGITS]
    gates: dict[str, list[nn.BatchNorm2d]] = {}
    for group in dict.fromkeys(layer.makes for layer in made):
        inside = [layer for layer in made if layer.makes == group]
        gates[group] = [_norm(layer) for layer in [layer for layer in inside if layer.depthwise] or inside]
    return gates


def _change(norm: nn.BatchNorm2d) -> Tensor:
    assert norm.weight.grad is not None and norm.bias.grad is not None
    return (norm.weight.grad * norm.weight + norm.bias.grad * norm.bias).detach()


def _norm(layer: Layer) -> nn.BatchNorm2d:
    assert isinstance(layer.module, ConvUnit) and isinstance(layer.module.norm, nn.BatchNorm2d)
    return layer.module.norm
