"""Make INT8 segments that can be deployed: from float .tflite segments, or from a network."""

import copy
from collections.abc import Sequence

import numpy as np

from earlyexit.model.architecture import Architecture
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.model.ranges import SegmentRanges
from earlyexit.quantization import convert
from earlyexit.quantization.quantize import quantize
from earlyexit.quantization.recipe import Quantizer, Ranges, Weights
from earlyexit.tflite import deployment
from earlyexit.tflite.deployment import Deployment


def deploy(
    models: Sequence[bytes],
    architecture: Architecture,
    images: np.ndarray,
    quantizer: Quantizer,
    weights: Weights = "per_channel",
    ranges: Ranges = "extremes",
    bits: int = 8,
    learned: Sequence[SegmentRanges] | None = None,
) -> Deployment:
    """Return the float segments of a network in INT8.

    Args:
        models: float .tflite segments, in order.
        architecture: of the network.
        images: calibration images, uint8 (N, H, W, 3).
        quantizer, weights, ranges, bits, learned: as `quantize` takes them.

    Raises:
        ValueError: as `quantize`.
    """
    pixels = architecture.pixels
    quantized = quantize(models, pixels.images(images), pixels.range, quantizer, weights, ranges, bits, learned)
    macs = [deployment.macs(model) for model in quantized]
    return Deployment(names=architecture.outputs, models=quantized, macs=macs, pixels=pixels)


def deploy_network(
    network: EarlyExitNetwork,
    images: np.ndarray,
    quantizer: Quantizer,
    weights: Weights = "per_channel",
    ranges: Ranges = "extremes",
    bits: int = 8,
) -> Deployment:
    """Return `network` in INT8, without the comparison of the export stage; the arguments are those of `deploy`."""
    folded = copy.deepcopy(network).fold()
    convert.keep_biases(folded)
    return deploy(convert.to_tflite(folded), network.architecture, images, quantizer, weights, ranges, bits)
