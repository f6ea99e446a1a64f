import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from ai_edge_quantizer import calibrator
from ai_edge_quantizer.utils.validation_utils import signal_to_noise_ratio

from earlyexit.common.pixels import Normalization
from earlyexit.quantization.layer_error import LayerError, layer_errors, table, worst
from earlyexit.quantization.quantize import quantize
from earlyexit.quantization.recipe import Quantizer
from earlyexit.tflite import reader
from earlyexit.tflite.compact import pack
from earlyexit.tflite.deployment import Deployment
from tests import tiny_tflite
from tests.conftest import Exported

Deployments = dict[Quantizer, Deployment]
Outputs = list[np.ndarray]
each_quantizer = pytest.mark.parametrize("quantizer", ["litert", "tensorflow"])

N = 6
IMAGES = np.random.default_rng(1).integers(0, 256, (N, 12, 12, 3), dtype=np.uint8)
STEM, EXPAND, DEPTHWISE, PROJECT, SHORTCUT, POOL, DENSE = range(7)  # the operators of tiny_tflite.segment


def record(model: bytes, inputs: np.ndarray) -> Outputs:
    """Each operator's output (N, ...), by reference kernels."""
    interpreter = Interpreter(
        model_content=model,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    rows = []
    for x in inputs:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x[None])
        interpreter.invoke()
        rows.append([interpreter.get_tensor(o.outputs[0].index)[0] for o in reader.operators(model)])
    return [np.array(outputs) for outputs in zip(*rows, strict=True)]


def features(model: bytes, outputs: Outputs) -> np.ndarray:
    logits, features = reader.logits_and_features(reader.interface(model)[1])
    return outputs[[operator.outputs[0] for operator in reader.operators(model)].index(features or logits)]


def decibels(found: np.ndarray, expected: np.ndarray) -> float:
    return 10 * math.log10(signal_to_noise_ratio(found, expected, epsilon=0))


def real(levels: np.ndarray, error: LayerError) -> np.ndarray:
    return (levels.astype(np.float64) - error.zero_point) * error.scale


def quantized(model: bytes, factors: dict[int, float] | None = None) -> Deployment:
    """One segment in INT8; the calibrated range of some operators' outputs is multiplied by a factor."""
    names = {
        f"a_rather_long_name_{reader.operators(model)[operator].outputs[0].index}": factor
        for operator, factor in (factors or {}).items()
    }
    calibrated = calibrator.Calibrator.get_model_qsvs

    def changed(self: Any) -> Any:
        return {
            name: {end: names.get(name, 1) * value for end, value in found.items()}
            for name, found in calibrated(self).items()
        }

    normalized = (IMAGES.astype(np.float32) - 128) / 128
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrator.Calibrator, "get_model_qsvs", changed)
        return deployment(*quantize([model], normalized, (-1, 127 / 128), "litert"))


def deployment(*models: bytes) -> Deployment:
    names = [f"exit{i + 1}" for i in range(len(models) - 1)] + ["final"]
    return Deployment(names, list(models), [0] * len(models), pixels=Normalization(offset=128, divisor=128))


@pytest.fixture(scope="module")
def model() -> bytes:
    return tiny_tflite.segment()


@pytest.fixture(scope="module")
def good(model: bytes) -> Deployment:
    return quantized(model)


@pytest.fixture(scope="module")
def errors(model: bytes, good: Deployment) -> list[LayerError]:
    return layer_errors([model], good, IMAGES)


@each_quantizer
def test_one_entry_an_operator_in_order(exported: Exported, deployments: Deployments, quantizer: Quantizer) -> None:
    network = deployments[quantizer]
    errors = layer_errors(exported.segments, network, exported.images[:2])
    expected = [
        (number, network.names[number - 1], index, operator.name, operator.outputs[0])
        for number, model in enumerate(network.models, start=1)
        for index, operator in enumerate(reader.operators(model))
    ]
    for error, (number, name, index, operator, output) in zip(errors, expected, strict=True):
        assert (error.images, error.segment, error.classifier, error.index) == (2, number, name, index)
        assert (error.operator, error.shape) == (operator, output.shape[1:])
        assert (error.scale, error.zero_point) == (output.scale, output.zero_point)
    heads = ["DEPTHWISE_CONV_2D", "CONV_2D", "MEAN", "FULLY_CONNECTED"]
    assert [error.operator for error in errors if error.head] == 2 * heads
    assert {error.classifier for error in errors if error.head} == {"exit1", "exit2"}


@each_quantizer
def test_figures_of_whole_networks_against_numpy(
    exported: Exported, deployments: Deployments, quantizer: Quantizer
) -> None:
    network, n = deployments[quantizer], 4
    errors = iter(layer_errors(exported.segments, network, exported.images[:n]))
    x, q = exported.normalized[:n], network.quantize(exported.images[:n])
    for float_model, model in zip(exported.segments, network.models, strict=True):
        before, after = record(float_model, x), record(model, q)
        for expected, levels in zip(before, after, strict=True):
            error = next(errors)
            found = real(levels, error)
            assert error.sqnr == pytest.approx(decibels(found, expected), abs=1e-3)
            assert error.max_error == pytest.approx(np.abs(found - expected).max() / error.scale, abs=1e-3)
            assert error.bias == pytest.approx((found - expected).mean() / error.scale, abs=1e-3)
            real_low, real_high = (real(np.array(end), error) for end in (-128.5, 127.5))
            assert error.clipped == np.mean((expected < real_low) | (expected > real_high))
        x, q = features(float_model, before), features(model, after)
    assert next(errors, None) is None


def test_a_layer_alone_against_numpy(model: bytes, good: Deployment, errors: list[LayerError]) -> None:
    levels = record(good.models[0], good.quantize(IMAGES))
    given = [real(output, error) for output, error in zip(levels, errors, strict=True)]
    alone = {SHORTCUT: given[STEM] + given[PROJECT], POOL: given[SHORTCUT].mean((1, 2))}
    for index, expected in alone.items():
        error = errors[index]
        nearest = np.clip(np.round(expected / error.scale) + error.zero_point, -128, 127)
        assert error.sqnr_alone == pytest.approx(decibels(given[index], expected), abs=1e-3)
        assert error.sqnr_rounding == pytest.approx(decibels(real(nearest, error), expected), abs=1e-3)


def test_the_first_layer_has_nothing_to_inherit(errors: list[LayerError]) -> None:
    assert errors[STEM].sqnr == pytest.approx(errors[STEM].sqnr_alone, abs=1e-3)
    assert errors[STEM].sqnr_alone < errors[STEM].sqnr_rounding


@pytest.mark.parametrize("layer", [STEM, DEPTHWISE, PROJECT, SHORTCUT, POOL, DENSE])
def test_a_scale_that_is_too_wide_is_found(model: bytes, errors: list[LayerError], layer: int) -> None:
    coarse = layer_errors([model], quantized(model, {layer: 24}), IMAGES)
    found = worst(coarse, 1)[0]
    assert found.index == layer
    assert found.sqnr_alone < errors[layer].sqnr_alone - 20
    assert found.sqnr_rounding == pytest.approx(found.sqnr_alone, abs=1)
    assert coarse[:layer] == errors[:layer]
    assert all(error.sqnr_alone > found.sqnr_alone + 5 for error in coarse[layer + 1 :])
    assert coarse[DENSE].sqnr < errors[DENSE].sqnr


def test_a_scale_that_is_too_narrow_clips(model: bytes, errors: list[LayerError]) -> None:
    narrow = layer_errors([model], quantized(model, {PROJECT: 0.4}), IMAGES)
    assert worst(narrow, 1)[0].index == PROJECT
    assert [error.clipped for error in errors] == [0] * len(errors)
    assert narrow[PROJECT].clipped > 0.02
    assert narrow[PROJECT].sqnr_rounding < errors[PROJECT].sqnr_rounding - 5


def test_wrong_weights_are_found_and_told_from_a_wrong_scale(model: bytes, good: Deployment) -> None:
    found = worst(layer_errors([with_louder_channel(model, PROJECT)], good, IMAGES), 1)[0]
    assert found.index == PROJECT
    assert found.sqnr_rounding > found.sqnr_alone + 10


def with_louder_channel(model: bytes, operator: int) -> bytes:
    content = reader.unpack(model)
    weights = content.subgraphs[0].tensors[content.subgraphs[0].operators[operator].inputs[1]]
    values = np.frombuffer(bytes(content.buffers[weights.buffer].data), np.float32).reshape(weights.shape).copy()
    values[0] *= 1.5
    content.buffers[weights.buffer].data = np.frombuffer(values.tobytes(), np.uint8)
    return pack(content)


def chain(*kernels: int, straight: bool = True) -> bytes:
    """Convolutions, the third from the second, or from the first where it is not `straight`."""
    network = tiny_tflite.Network(12)
    first = network.conv(network.input, 8)
    second = network.conv(first, 8, kernel=kernels[0])
    third = network.conv(second if straight else first, 8, kernel=kernels[1])
    return network.finish(network.dense(network.mean(third), 2), second)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            chain(1, 1, straight=False),
            "operator 2 is CONV_2D to 1x12x12x8 from operator 1 in the float model, "
            "CONV_2D to 1x12x12x8 from operator 0 in INT8",
        ),
        (
            tiny_tflite.segment(),
            "operator 0 is CONV_2D to 1x12x12x8 from the input in the float model, "
            "CONV_2D to 1x6x6x8 from the input in INT8",
        ),
    ],
)
def test_another_graph_is_refused(other: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f"^segment 1: {message}$"):
        layer_errors([chain(1, 1)], deployment(tiny_tflite.quantized(other)), IMAGES)


def test_an_operator_more_is_refused() -> None:
    network = tiny_tflite.Network(12)
    longer = network.conv(network.input, 8)
    short = tiny_tflite.Network(12)
    less = short.conv(short.input, 8)
    float_model = network.finish(network.dense(network.mean(longer), 2))
    with pytest.raises(ValueError, match=r"^segment 1: operator 1 is MEAN to 1x8 .* missing in INT8$"):
        layer_errors([float_model], deployment(tiny_tflite.quantized(short.finish(less))), IMAGES)


def test_a_network_that_is_not_int8_is_refused(model: bytes, good: Deployment) -> None:
    network = deployment(good.models[0], model)
    with pytest.raises(ValueError, match=r"^segment 2: the output of operator 0, CONV_2D, is float32, expected int8"):
        layer_errors([model, model], network, IMAGES)


def test_bad_arguments_are_named(model: bytes, good: Deployment) -> None:
    with pytest.raises(ValueError, match=r"^0 images of uint8, expected one or more"):
        layer_errors([model], good, IMAGES[:0])
    with pytest.raises(ValueError, match=rf"^{N} images of float32, expected one or more of uint8"):
        layer_errors([model], good, IMAGES.astype(np.float32))
    with pytest.raises(ValueError, match=r"^2 float segments, but 1 quantized ones"):
        layer_errors([model, model], good, IMAGES)


def test_rows_can_be_written(errors: Sequence[LayerError]) -> None:
    rows = table([*errors, replace(errors[0], sqnr=math.inf, sqnr_alone=-math.inf)])
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert rows[STEM]["shape"] == "6x6x8"
    assert rows[DENSE] == {"layer": DENSE + 1, **vars(errors[DENSE]), "shape": "2"}
    assert (rows[-1]["sqnr"], rows[-1]["sqnr_alone"]) == (None, None)


def test_a_layer_without_error_is_the_best(errors: list[LayerError]) -> None:
    every = [replace(errors[0], sqnr_alone=math.inf), *errors]
    assert worst(every, len(every))[-1] is every[0]
    assert [error.sqnr_alone for error in worst(every, 3)] == sorted(error.sqnr_alone for error in errors)[:3]


def test_a_mean_of_one_value_has_no_error() -> None:
    network = tiny_tflite.Network(12)
    pixel = network.conv(network.input, 8, stride=12)
    model = network.finish(network.dense(network.mean(pixel), 2))
    pool = layer_errors([model], quantized(model), IMAGES)[1]
    assert (pool.operator, pool.sqnr_alone, pool.sqnr_rounding) == ("MEAN", math.inf, math.inf)


def test_noise_in_silence_is_infinitely_bad(model: bytes, good: Deployment) -> None:
    content = reader.unpack(model)
    for tensor in content.subgraphs[0].operators[STEM].inputs[1:]:
        buffer = content.buffers[content.subgraphs[0].tensors[tensor].buffer]
        buffer.data = np.zeros(len(buffer.data), np.uint8)
    found = layer_errors([pack(content)], good, IMAGES)
    assert worst(found, 1)[0] == found[STEM]
    assert found[STEM].sqnr_alone == -math.inf
