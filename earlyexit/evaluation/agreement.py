"""How far INT8 answers are from float ones."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from earlyexit.dataset import PackedSplit
from earlyexit.evaluation.statistics import accuracy
from earlyexit.policy.decision import labels
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.segment import Segment, all_logits


def compare(models: Sequence[bytes], network: Deployment, images: np.ndarray, split: PackedSplit) -> dict[str, Any]:
    """Compare float segments with INT8 ones on the same images.

    Args:
        models: float .tflite segments, in order.
        network: the same segments quantized.
        images: normalized float32 (N, H, W, 3).
        split: the same images as uint8, and their labels.

    Returns:
        for each classifier, accuracy of FP32 and of INT8 with n and 95 % interval, and the share of equal decisions.
    """
    fp32 = all_logits([Segment(model) for model in models], images, "FP32 segments")
    int8 = all_logits(network.segments(), network.quantize(split.images), "INT8 segments")
    report: dict[str, Any] = {}
    for name, before, after in zip(network.names, labels(fp32), labels(int8), strict=True):
        report[name] = {
            "fp32": asdict(accuracy(before, split.labels)),
            "int8": asdict(accuracy(after, split.labels)),
            "same_label": float(np.mean(before == after)),
        }
    return report
