"""The one place that imports torchvision.

A CPU build of torch beside a torchvision that was built for CUDA lacks the operators that torchvision registers
fake kernels for, and `import torchvision` fails. Their schemas are all that models and transforms.v2 need.
"""

from typing import Any

import torch

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def _import_transforms() -> Any:
    try:
        from torchvision.transforms import v2
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        import sys

        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for schema in _SCHEMAS.values():
            library.define(schema)  # type: ignore[no-untyped-call]
        _KEPT.append(library)
        from torchvision.transforms import v2
    return v2


_KEPT: list[torch.library.Library] = []
v2 = _import_transforms()
