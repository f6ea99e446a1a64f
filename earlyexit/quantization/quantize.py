"""Quantize segments to INT8 after training (Section II-B), by one of two quantizers."""

import math
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from earlyexit.common.quiet import quiet
from earlyexit.tflite.compact import compact
from earlyexit.tflite.reader import interface, logits_and_features
from earlyexit.tflite.segment import Quantization, Segment

Quantizer = Literal["litert", "tensorflow"]
SIGNATURE = "serving_default"


def quantize(
    models: Sequence[bytes], images: np.ndarray, input_range: tuple[float, float], quantizer: Quantizer
) -> list[bytes]:
    """Quantize the segments of one network to INT8, weights per channel, activations per tensor.

    Each segment is calibrated on the float features of the segment before. Both segments give these features the same
    scale (but for the last bits) and zero point, so INT8 features pass from file to file unchanged.

    Args:
        models: float .tflite segments, in order.
        images: calibration images, normalized float32 (N, H, W, 3).
        input_range: smallest and largest value of a normalized pixel.
        quantizer: "litert" (ai-edge-quantizer) or "tensorflow" (TensorFlow's calibrator, the paper's tool).

    Raises:
        ValueError: the quantizer gave the features different scales in two segments; names the segments.
    """
    quantized = []
    samples: list[np.ndarray] = list(images[:, None])
    shared: Any = None
    for number, model in enumerate(models, start=1):
        if quantizer == "litert":
            content, shared = _litert(model, samples, input_range if number == 1 else None, shared)
        else:
            content = _tensorflow(model, tqdm(samples, desc=f"calibrate segment {number}", unit="image", mininterval=1))
        quantized.append(compact(content))
        if number < len(models):
            samples = _features(model, samples)
    _check_features(quantized)
    return quantized


def _litert(model: bytes, samples: Any, input_range: tuple[float, float] | None, shared: Any) -> tuple[bytes, Any]:
    """Return one segment in INT8, and the range of its features.

    `shared` is the range that the segment before used for its features, the input of this one.
    """
    from ai_edge_quantizer import calibrator, quantizer, recipe, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    rules = recipe.static_wi8_ai8()
    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(rules)
    signature_input, taken, given = _names(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about an interpreter that keeps all tensors, which a calibrator needs
        # The default is a moving average, which depends on the order of the samples; the paper's tool takes extremes.
        observer = calibrator.Calibrator(model, num_threads=1, qsv_update_func=qsv_utils.min_max_update)
        observer.calibrate({SIGNATURE: [{signature_input: x} for x in samples]}, manager)
    ranges = observer.get_model_qsvs()
    if input_range is not None:
        low, high = (np.full((1, 1, 1, 1), value, np.float32) for value in input_range)
        ranges[taken] = {"min": low, "max": high}
    if shared is not None:
        ranges[taken] = shared
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = quantizer.Quantizer(model, rules).quantize(ranges, enable_progress_report=False)
    return bytes(result.quantized_model), None if given is None else ranges[given]


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
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model)
    (taken,), outputs = interface(model)
    _, features = logits_and_features(outputs)
    names = {
        detail["index"]: str(detail["name"])
        for detail in [*interpreter.get_input_details(), *interpreter.get_output_details()]
    }
    signature_input = str(interpreter.get_signature_list()[SIGNATURE]["inputs"][0])
    return signature_input, names[taken.index], None if features is None else names[features.index]


def _same(given: Quantization | None, taken: Quantization) -> bool:
    # TensorFlow's quantizer computes the scale of an input and of an output in two ways, which differ in the last bit.
    return (
        given is not None
        and given.zero_point == taken.zero_point
        and math.isclose(given.scale, taken.scale, rel_tol=1e-6)
    )


def _check_features(models: Sequence[bytes]) -> None:
    segments = [Segment(model) for model in models]
    for number, (before, after) in enumerate(pairwise(segments), start=1):
        if not _same(before.features_quantization, after.input_quantization):
            raise ValueError(
                f"segment {number} gives features at {before.features_quantization}, "
                f"but segment {number + 1} takes {after.input_quantization}"
            )
