"""What can be chosen about INT8 quantization. Imports no quantizer: every stage reads params.yaml."""

from typing import Literal

Quantizer = Literal["litert", "tensorflow"]
Weights = Literal["per_channel", "per_tensor"]
Ranges = Literal["extremes", "moving_average"]


def check_available(quantizer: Quantizer, weights: Weights, ranges: Ranges) -> None:
    """Check that the quantizer offers this choice of weights and ranges.

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
