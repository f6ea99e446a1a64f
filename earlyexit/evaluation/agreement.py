"""Compare the answers of INT8 segments with those of float segments."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from earlyexit.evaluation.statistics import accuracy
from earlyexit.policy import decision
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.segment import Segment, all_logits


def compare(models: Sequence[bytes], network: Deployment, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Compare float segments with the same segments in INT8, on the same images.

    Args:
        models: float .tflite segments, in order.
        network: the same segments, quantized.
        images: uint8 (N, H, W, 3).
        labels: of the images, (N,).

    Returns:
        for each classifier: accuracy of FP32 and of INT8 with n and 95 % interval; share of images with the same class.
    """
    fp32 = all_logits([Segment(model) for model in models], network.pixels.images(images), "FP32 segments")
    int8 = all_logits(network.segments(), network.quantize(images), "INT8 segments")
    report: dict[str, Any] = {}
    for name, before, after in zip(network.names, decision.labels(fp32), decision.labels(int8), strict=True):
        report[name] = {
            "fp32": asdict(accuracy(before, labels)),
            "int8": asdict(accuracy(after, labels)),
            "same_label": float(np.mean(before == after)),
        }
    return report
