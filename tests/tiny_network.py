"""Networks of a few thousand weights, and pictures that they can tell apart."""

from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from earlyexit.dataset import PackedSplit
from earlyexit.model.architecture import Architecture, MobileNetV1Table, MobileNetV2Table
from earlyexit.model.network import EarlyExitNetwork

Family = Literal["mobilenet_v2", "mobilenet_v1"]
FAMILIES: tuple[Family, ...] = ("mobilenet_v2", "mobilenet_v1")
RESOLUTION = 40  # halved to 20, 10, 5 and 3 pixels: even and odd sizes meet a stride of 2


def architecture(family: Family = "mobilenet_v2", **changes: Any) -> Architecture:
    """Five blocks, separable exits behind the first and the third; `changes` are fields of Architecture."""
    common: dict[str, Any] = {"width": 1.0, "stem": 8, "input_offset": 128, "input_divisor": 128}
    table = (
        MobileNetV2Table(blocks=[(1, 8, 1, 2), (2, 8, 2, 1), (2, 12, 2, 2)], last=16, **common)
        if family == "mobilenet_v2"
        else MobileNetV1Table(blocks=[(8, 1, 2), (12, 2, 1), (16, 2, 2)], **common)
    )
    fields: dict[str, Any] = {
        "exits": ["block1", "block3"],
        "head": "separable",
        "head_channels": [8, 8],
        "resolution": RESOLUTION,
    }
    return Architecture(backbone=table, **(fields | changes))


def network(structure: Architecture, seed: int = 0) -> EarlyExitNetwork:
    """A network in eval mode whose batch norm has seen pictures, so that its parts do something each."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    made = EarlyExitNetwork(structure)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.uniform_(module.bias, -0.5, 0.5, generator=generator)
            module.momentum = 1.0
    with torch.no_grad():
        made.train()(made.normalize(torch.from_numpy(images(16, structure.resolution))))
    return made.eval()


def images(count: int, resolution: int = RESOLUTION, seed: int = 0) -> np.ndarray:
    """Pictures of coarse patches, some dark and some bright; uint8 (count, resolution, resolution, 3)."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (count, 5, 5, 3)) * rng.uniform(0.2, 1, (count, 1, 1, 1))
    side = -(-resolution // 5)
    large = patches.repeat(side, axis=1).repeat(side, axis=2)[:, :resolution, :resolution]
    return np.clip(large + rng.normal(0, 8, large.shape), 0, 255).astype(np.uint8)


def dark_and_bright(count: int, resolution: int = RESOLUTION, seed: int = 0) -> PackedSplit:
    """A trivial task: noise around 80 is class 0, around 170 class 1."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    pixels = rng.normal(80 + 90 * labels[:, None, None, None], 25, (count, resolution, resolution, 3))
    return PackedSplit(np.clip(pixels, 0, 255).astype(np.uint8), labels, np.arange(count))
