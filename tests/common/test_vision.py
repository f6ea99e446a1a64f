import re

import torch

from earlyexit.common.vision import v2
from tests import ROOT


def test_transforms_work_on_uint8_batches() -> None:
    images = torch.arange(2 * 3 * 8 * 8, dtype=torch.int64).reshape(2, 3, 8, 8).to(torch.uint8)
    assert torch.equal(v2.functional.horizontal_flip(images), images.flip(3))
    resized = v2.RandomResizedCrop(4, antialias=False)(images)
    assert (resized.shape, resized.dtype) == ((2, 3, 4, 4), torch.uint8)


def test_nothing_else_imports_torchvision() -> None:
    statement = re.compile(r"^\s*(?:import|from)\s+torchvision", re.MULTILINE)
    sources = [
        path
        for name in ("earlyexit", "stages", "experiments", "rehearsal", "benchmarks")
        for path in (ROOT / name).rglob("*.py")
    ]
    assert [path.name for path in sources if statement.search(path.read_text(encoding="utf-8"))] == ["vision.py"]
