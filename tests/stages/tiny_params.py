"""The project's params.yaml with a network of a few thousand weights."""

from typing import Any

from earlyexit.params import Params, load, overridden
from tests import ROOT

TINY = {
    "data.resolution": 32,
    "model.mobilenet_v2.stem": 8,
    "model.mobilenet_v2.blocks": [[1, 8, 1, 2], [2, 8, 2, 1], [2, 16, 2, 2]],
    "model.mobilenet_v2.last": 16,
    "exits.mobilenet_v2": ["block1", "block2", "block3"],
    "exits.channels": [8, 8, 8],
}


def tiny(**changes: Any) -> Params:
    """The tiny network's params with `changes`, dotted leaves and their values."""
    return overridden(load(ROOT / "params.yaml"), [f"{name}={value}" for name, value in (TINY | changes).items()])
