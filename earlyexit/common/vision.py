"""The one place that imports torchvision.

torchvision registers kernels for its own operators when it is imported. A torchvision built for CUDA lacks these
operators beside a CPU build of torch, and its import fails. Defining the operators' schemas first is enough for
models and transforms.v2.
"""

import sys
from typing import Any

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def _transforms() -> Any:
    from torchvision.transforms import v2

    return v2


def _transforms_without_operators() -> Any:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    for schema in _SCHEMAS:
        _LIBRARY.define(schema)  # type: ignore[no-untyped-call]
    return _transforms()


try:
    v2 = _transforms()
except RuntimeError as error:
    if "torchvision::" not in str(error):
        raise
    # The schemas exist as long as this object.
    _LIBRARY = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    v2 = _transforms_without_operators()
