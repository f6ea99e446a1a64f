"""INT8 post-training quantization of segments (Section II-B), by two quantizers."""

import math
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from earlyexit.common.quiet import quiet
from earlyexit.tflite.compact import compact
from earlyexit.tflite.segment import Quantization, Segment

Quantizer = Literal["litert", "tensorflow"]
SIGNATURE = "serving_default"


def quantize(
    models: Sequence[bytes], images: np.ndarray, input_range: tuple[float, float], quantizer: Quantizer
) -> list[bytes]:
    """Quantize the segments of one network to INT8, weights per channel, activations per tensor.

    A segment is calibrated on the float features of the one before, and both give the tensor between them the same
    scale (to the last bit or two) and zero point, so INT8 features pass from file to file untouched.

    Args:
        models: float .tflite segments, in order.
        images: calibration images, normalized float32 (N, H, W, 3).
        input_range: smallest and largest value of a normalized pixel.
        quantizer: "litert" (ai-edge-quantizer) or "tensorflow" (TensorFlow's calibrator, the paper's tool).

    Raises:
        ValueError: the quantizer gave the two ends of a passage between segments different scales.
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
    _check_passages(quantized)
    return quantized


def _litert(model: bytes, samples: Any, input_range: tuple[float, float] | None, shared: Any) -> tuple[bytes, Any]:
    """Quantize one segment; `shared` is the range of its input as the segment before used it for its output."""
    from ai_edge_quantizer import calibrator, quantizer, recipe, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    rules = recipe.static_wi8_ai8()
    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(rules)
    names = _signature(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the interpreter keeps all tensors, as a calibrator must
        # The default, a moving average, forgets all but the last samples; the paper's tool takes the extremes.
        observer = calibrator.Calibrator(model, num_threads=1, qsv_update_func=qsv_utils.min_max_update)
        observer.calibrate({SIGNATURE: [{names["input"]: x} for x in samples]}, manager)
    ranges = observer.get_model_qsvs()
    if input_range is not None:
        low, high = (np.full((1, 1, 1, 1), value, np.float32) for value in input_range)
        ranges[names["input_tensor"]] = {"min": low, "max": high}
    if shared is not None:
        ranges[names["input_tensor"]] = shared
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = quantizer.Quantizer(model, rules).quantize(ranges, enable_progress_report=False)
    return bytes(result.quantized_model), ranges.get(names["features_tensor"])


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


def _signature(model: bytes) -> dict[str, str]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model)
    outputs = sorted(interpreter.get_output_details(), key=lambda detail: len(detail["shape"]))
    return {
        "input": interpreter.get_signature_list()[SIGNATURE]["inputs"][0],
        "input_tensor": interpreter.get_input_details()[0]["name"],
        "features_tensor": outputs[-1]["name"],
    }


def _same(given: Quantization | None, taken: Quantization) -> bool:
    # TensorFlow's quantizer computes an input's and an output's scale along two paths that differ in the last bit.
    return (
        given is not None
        and given.zero_point == taken.zero_point
        and math.isclose(given.scale, taken.scale, rel_tol=1e-6)
    )


def _check_passages(models: Sequence[bytes]) -> None:
    segments = [Segment(model) for model in models]
    for number, (before, after) in enumerate(pairwise(segments), start=1):
        if not _same(before.features_quantization, after.input_quantization):
            raise ValueError(
                f"segment {number} gives features at {before.features_quantization}, "
                f"but segment {number + 1} takes {after.input_quantization}"
            )
