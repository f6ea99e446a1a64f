"""Quantize trained segments (Section II-B), by one of two quantizers: to INT8, or with weights of four bits."""

import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from tqdm import tqdm

from earlyexit.common.quiet import quiet
from earlyexit.model.ranges import SegmentRanges
from earlyexit.quantization.recipe import Quantizer, Ranges, Weights, check_available
from earlyexit.tflite.compact import compact
from earlyexit.tflite.reader import interface, logits_and_features, operators
from earlyexit.tflite.segment import Segment

SIGNATURE = "serving_default"


def quantize(
    models: Sequence[bytes],
    images: np.ndarray,
    input_range: tuple[float, float],
    quantizer: Quantizer,
    weights: Weights = "per_channel",
    ranges: Ranges = "extremes",
    bits: int = 8,
    learned: Sequence[SegmentRanges] | None = None,
) -> list[bytes]:
    """Quantize the segments of one network to INT8, activations per tensor, or with INT4 weights.

    Ranges of activations are those that training learned, or else each segment is calibrated on the float features of
    the segment before. Both segments give these features the same scale (but for the last bits) and zero point, so INT8
    features pass from file to file unchanged.

    Args:
        models: float .tflite segments, in order.
        images: calibration images, normalized float32 (N, H, W, 3).
        input_range: smallest and largest value of a normalized pixel.
        quantizer: "litert" (ai-edge-quantizer) or "tensorflow" (TensorFlow's calibrator, the paper's tool).
        weights: per_channel: a scale for each channel of a layer; per_tensor: one for the layer.
        ranges: of activations. extremes: the smallest and the largest value over all images; moving_average: of each
            image's smallest and largest value, by ai-edge-quantizer's default, which depends on the order of images.
        bits: of the weights of convolutions and depthwise convolutions. Fully connected layers have 8: TensorFlow Lite
            Micro runs none of four bits with a scale for each channel.
        learned: ranges of each segment, if training learned them (litert only). Then `images` and `ranges` do not
            matter.

    Raises:
        ValueError: the quantizer does not offer this choice, gave the features different scales in two segments, or
            there are not as many learned ranges as a segment has tensors; the message names the params, or the
            segments.
    """
    check_available(quantizer, weights, ranges, bits, learned=learned is not None)
    recipe = _recipe(weights, bits) if quantizer == "litert" else None
    if learned is not None:
        quantized = [
            compact(_apply(model, _named(model, found, number), recipe))
            for number, (model, found) in enumerate(zip(models, learned, strict=True), start=1)
        ]
        _check_features(quantized)
        return quantized
    quantized = []
    samples: list[np.ndarray] = list(images[:, None])
    low, high = (np.full((1, 1, 1, 1), value, np.float32) for value in input_range)
    shared: Any = {"min": low, "max": high}
    for number, model in enumerate(models, start=1):
        if recipe is not None:
            content, shared = _litert(model, samples, shared, recipe, ranges)
        else:
            content = _tensorflow(model, tqdm(samples, desc=f"calibrate segment {number}", unit="image", mininterval=1))
        quantized.append(compact(content))
        if number < len(models):
            samples = _features(model, samples)
    _check_features(quantized)
    return quantized


def _recipe(weights: Weights, bits: int) -> Any:
    """Return ai-edge-quantizer's manager of the recipe: INT8 everywhere, then the weights of convolutions at `bits`."""
    from ai_edge_quantizer import qtyping, recipe_manager

    kinds = qtyping.QuantGranularity
    granularity = {"per_channel": kinds.CHANNELWISE, "per_tensor": kinds.TENSORWISE}[weights]
    manager = recipe_manager.RecipeManager()
    manager.add_static_config(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        activation_num_bits=8,
        weight_num_bits=8,
        weight_granularity=granularity,
    )
    if bits == 8:
        return manager
    config = qtyping.OpQuantizationConfig(
        activation_tensor_config=qtyping.TensorQuantizationConfig(num_bits=8, symmetric=False),
        weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=bits, symmetric=True, granularity=granularity),
        compute_precision=qtyping.ComputePrecision.INTEGER,
        explicit_dequantize=False,
        skip_checks=True,  # the quantizer's list of what runs lacks such layers, and it would leave them in float
    )
    for operation in (qtyping.TFLOperationName.CONV_2D, qtyping.TFLOperationName.DEPTHWISE_CONV_2D):
        manager.add_quantization_config(".*", operation, config)
    return manager


def _litert(model: bytes, samples: Any, input_range: Any, manager: Any, ranges: Ranges) -> tuple[bytes, Any]:
    """Return one segment quantized, and the range of its features, which is the `input_range` of the next segment."""
    from ai_edge_quantizer import calibrator
    from ai_edge_quantizer.utils import qsv_utils

    update = {"extremes": qsv_utils.min_max_update, "moving_average": qsv_utils.moving_average_update}
    signature_input, taken, given = _names(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about an interpreter that keeps all tensors, which a calibrator needs
        observer = calibrator.Calibrator(model, num_threads=1, qsv_update_func=update[ranges])
        observer.calibrate({SIGNATURE: [{signature_input: x} for x in samples]}, manager)
    found = observer.get_model_qsvs()
    found[taken] = input_range
    return _apply(model, found, manager), None if given is None else found[given]


def _apply(model: bytes, ranges: Any, manager: Any) -> bytes:
    """Return one segment quantized, by the ranges of its tensors."""
    from ai_edge_quantizer import quantizer

    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tool = quantizer.Quantizer(model, manager.get_quantization_recipe())
        return bytes(tool.quantize(ranges, enable_progress_report=False).quantized_model)


def _named(model: bytes, learned: SegmentRanges, number: int) -> dict[str, Any]:
    """Return the ranges of a segment's input and of its operators' outputs, as the quantizer takes them."""
    (taken,), _ = interface(model)
    tensors = [taken, *(operator.outputs[0] for operator in operators(model))]
    if len(learned) != len(tensors):
        raise ValueError(f"segment {number} has {len(tensors)} tensors of activations, but {len(learned)} ranges")
    names = _tensor_names(model)
    return {
        names[tensor.index]: {
            end: np.full([1] * len(tensor.shape), value, np.float32)
            for end, value in zip(("min", "max"), values, strict=True)
        }
        for tensor, values in zip(tensors, learned, strict=True)
    }


def _tensorflow(model: bytes, samples: Any) -> bytes:
    import tensorflow as tf
    from tensorflow.lite.python.optimize.calibrator import Calibrator

    with quiet():
        calibrator = Calibrator(model)
        return bytes(calibrator.calibrate_and_quantize(lambda: ([x] for x in samples), tf.int8, tf.int8, False))


def _features(model: bytes, samples: Sequence[np.ndarray]) -> list[np.ndarray]:
    segment = Segment(model)
    found = []
    for x in samples:
        _, features = segment(x[0])
        assert features is not None
        found.append(features[None])
    return found


def _names(model: bytes) -> tuple[str, str, str | None]:
    """Return the names of the signature's input, of the input tensor and of the features; None for no features."""
    (taken,), outputs = interface(model)
    _, features = logits_and_features(outputs)
    names = _tensor_names(model)
    signature_input = str(_interpreter(model).get_signature_list()[SIGNATURE]["inputs"][0])
    return signature_input, names[taken.index], None if features is None else names[features.index]


def _tensor_names(model: bytes) -> dict[int, str]:
    """Return the name of each tensor, by its index."""
    return {detail["index"]: str(detail["name"]) for detail in _interpreter(model).get_tensor_details()}


def _interpreter(model: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_content=model)


def _check_features(models: Sequence[bytes]) -> None:
    segments = [Segment(model) for model in models]
    for number, (before, after) in enumerate(pairwise(segments), start=1):
        given, taken = before.features_quantization, after.input_quantization
        if given is None or not given.agrees_with(taken):
            raise ValueError(f"segment {number} gives features at {given}, but segment {number + 1} takes {taken}")
