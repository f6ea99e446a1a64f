"""What can be chosen about quantization. Imports no quantizer: every stage reads params.yaml."""

from dataclasses import dataclass
from typing import Literal

Quantizer = Literal["litert", "tensorflow"]
Weights = Literal["per_channel", "per_tensor"]
Ranges = Literal["extremes", "moving_average"]


@dataclass(frozen=True)
class WeightFormat:
    """How the weights of a network are stored.

    Attributes:
        per_channel: each channel of a layer has a scale of its own; else the layer has one scale.
        bits: of a weight of a convolution or a depthwise convolution. Fully connected layers always have 8.
    """

    per_channel: bool = True
    bits: int = 8


EIGHT_BITS = WeightFormat()
"""The format of an INT8 network with a scale for each channel."""


def check_available(
    quantizer: Quantizer, weights: Weights, ranges: Ranges, bits: int = 8, *, learned: bool = False
) -> None:
    """Check that the quantizer offers this choice of weights, ranges and bits, and takes ranges that were learned.

    Raises:
        ValueError: it does not; the message names the params.
    """
    if quantizer == "litert":
        return
    if weights == "per_tensor":
        raise ValueError(
            "ptq.weights: per_tensor, but ptq.quantizer is tensorflow, whose calibrator fails on such weights "
            '("Quantized dimension for tensor property and quantization parameters do not match"); give per_channel, '
            "or ptq.quantizer: litert"
        )
    if ranges == "moving_average":
        raise ValueError(
            "ptq.ranges: moving_average, but ptq.quantizer is tensorflow, whose calibrator only takes extremes; give "
            "extremes, or ptq.quantizer: litert"
        )
    if learned:
        raise ValueError(
            "qat.epochs: more than 0, but ptq.quantizer is tensorflow, whose calibrator takes no ranges from training; "
            "give 0, or ptq.quantizer: litert"
        )
    if bits != 8:
        raise ValueError(
            f"ptq.bits: {bits}, but ptq.quantizer is tensorflow, whose calibrator only gives weights of 8 bits; give "
            "8, or ptq.quantizer: litert"
        )
