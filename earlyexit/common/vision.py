"""The one place that imports torchvision.

A CPU build of torch beside a torchvision that was built for CUDA lacks the operators that torchvision registers
fake kernels for, and `import torchvision` fails. Their schemas are all that models and transforms.v2 need.
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
    # Kept: the schemas go with the object that defined them.
    _LIBRARY = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    v2 = _transforms_without_operators()
