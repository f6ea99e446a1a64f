from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from earlyexit.budget.blueprint import blueprint
from earlyexit.firmware import fixed_point, layers
from earlyexit.firmware.layers import Add, Conv, Dense, Depthwise, Mean, Pointwise, Window
from tests import ROOT, tiny_network
from tests.firmware import single_layer
from tests.firmware.single_layer import ACTIVATIONS
from tests.tiny_tflite import Network

MODELS = ROOT / "models" / "int8"
SHAPE = (5, 6, 4)


def layer_of(kind: str, **changes: Any) -> Window:
    (layer,) = layers.read(model_of(kind, **changes), "one.tflite").layers
    assert isinstance(layer, Window)
    return layer


def model_of(kind: str, **changes: Any) -> bytes:
    shape = {"CONV_2D": (3, 3, 3, 4), "DEPTHWISE_CONV_2D": (1, 3, 3, 4), "FULLY_CONNECTED": (3, 120)}[kind]
    outputs = 4 if kind == "DEPTHWISE_CONV_2D" else 3
    arguments: dict[str, Any] = {
        "x": single_layer.activation(SHAPE, (0.5, 3)),
        "weights": np.arange(np.prod(shape)).reshape(shape).astype(np.int8),
        "scales": [0.01, 0.02, 0.03, 0.04][:outputs],
        "bias": np.arange(outputs, dtype=np.int32) * 100,
        "output": (0.25, -5),
    }
    return single_layer.window(kind, **(arguments | changes))


def test_reads_the_segments_of_a_blueprint() -> None:
    structure = tiny_network.architecture()
    segments = [layers.read(model, f"segment{n}") for n, model in enumerate(blueprint(structure), start=1)]
    assert [segment.features is None for segment in segments] == [False, False, True]
    first = segments[0]
    assert [type(layer) for layer in first.layers] == [Conv, Depthwise, Pointwise, Depthwise, Pointwise, Mean, Dense]
    assert [layer.name for layer in first.layers][:2] == ["conv_0", "depthwise_1"]
    assert first.layers[0].in_shape == (40, 40, 3)
    assert first.sizes[first.input] == 40 * 40 * 3
    assert first.shapes[first.logits] == (1, 1, 2)
    assert any(isinstance(layer, Add) for segment in segments for layer in segment.layers)
    for before, after in pairwise(segments):
        assert before.features is not None
        assert before.shapes[before.features] == after.shapes[after.input]
        made = next(layer for layer in before.layers if layer.output == before.features)
        assert (made.scale, made.zero_point) == (after.input_scale, after.input_zero_point)


def test_every_layer_reads_what_was_written_before() -> None:
    for model in blueprint(tiny_network.architecture("mobilenet_v1")):
        segment = layers.read(model, "segment")
        known = {segment.input}
        for layer in segment.layers:
            assert known.issuperset(layer.inputs)
            known.add(layer.output)
        assert known.issuperset({segment.logits} | ({segment.features} - {None}))


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"])
def test_bias_holds_what_the_zero_point_adds(kind: str) -> None:
    layer = layer_of(kind)
    totals = layer.weights.astype(int).sum((0, 1) if kind == "DEPTHWISE_CONV_2D" else (1, 2, 3))
    assert layer.bias.tolist() == (np.arange(len(totals)) * 100 - 3 * totals).tolist()
    expected = [fixed_point.quantize_multiplier(0.5 * float(np.float32(scale)) / 0.25) for scale in (0.01, 0.02)]
    assert [*zip(layer.multipliers.tolist(), layer.shifts.tolist(), strict=True)][:2] == expected


def test_a_missing_bias_is_zero() -> None:
    with_bias, without = layer_of("FULLY_CONNECTED"), layer_of("FULLY_CONNECTED", bias=None)
    assert (with_bias.bias - without.bias).tolist() == [0, 100, 200]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (ACTIVATIONS.NONE, (-128, 127)),
        (ACTIVATIONS.RELU, (-5, 127)),
        (ACTIVATIONS.RELU6, (-5, 19)),
        (ACTIVATIONS.RELU_N1_TO_1, (-9, -1)),
    ],
)
def test_activations_are_ranges_of_the_output(function: int, expected: tuple[int, int]) -> None:
    layer = layer_of("CONV_2D", function=function)
    assert (layer.low, layer.high) == expected


@pytest.mark.parametrize(
    ("same", "stride", "padding", "out_shape"),
    [(True, (1, 1), (1, 1), (5, 6, 3)), (True, (2, 2), (1, 0), (3, 3, 3)), (False, (2, 1), (0, 0), (2, 4, 3))],
)
def test_padding(
    same: bool, stride: tuple[int, int], padding: tuple[int, int], out_shape: tuple[int, int, int]
) -> None:
    layer = layer_of("CONV_2D", same=same, stride=stride)
    assert (layer.padding, layer.out_shape) == (padding, out_shape)


@pytest.mark.parametrize(("kind", "shape"), [("CONV_2D", (3, 3, 3, 3)), ("DEPTHWISE_CONV_2D", (1, 3, 3, 5))])
def test_reads_weights_of_four_bits(kind: str, shape: tuple[int, ...]) -> None:
    """An odd number of them, so that the last has a byte to itself."""
    weights = np.random.default_rng(0).integers(-8, 8, shape, np.int8)
    channels = shape[3] if kind == "DEPTHWISE_CONV_2D" else shape[0]
    changes = {
        "x": single_layer.activation((5, 6, shape[3]), (0.5, 3)),
        "weights": weights,
        "scales": [0.1] * channels,
        "bias": np.zeros(channels, np.int32),
    }
    layer = layer_of(kind, **changes, bits=4)
    assert layer.bits == 4
    assert np.array_equal(layer.weights.ravel(), weights.ravel())
    assert layer_of(kind, **changes).bits == 8


def float_model() -> bytes:
    network = Network(8)
    return network.finish(network.conv(network.input, 4))


def custom_model() -> bytes:
    network = Network(8)
    return network.finish(network.custom(network.input, "Mystery"))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (b"none", "not a .tflite file"),
        (float_model(), "operator 0, CONV_2D: tensor 1, the weights, is float32"),
        (custom_model(), "operator 0, Mystery: unknown operator, expected one of CONV_2D"),
        (model_of("CONV_2D", dilationHFactor=2), "operator 0, CONV_2D: dilation 2x1"),
        (model_of("CONV_2D", dilationWFactor=3), "dilation 1x3"),
        (model_of("DEPTHWISE_CONV_2D", depthMultiplier=2), "DEPTHWISE_CONV_2D: depth multiplier 2"),
        (model_of("CONV_2D", function=ACTIVATIONS.TANH), "unknown activation function"),
        (model_of("CONV_2D", scales=[0.1, 0.2]), "tensor 1, the weights, has 2 scales"),
        (model_of("CONV_2D", scales=[0.1, -0.2, 0.1]), "CONV_2D: tensor 1: factor -0"),
        (model_of("CONV_2D", scales=[0.1, 2.0**40, 0.1]), "does not fit into 32 bits"),
        (model_of("CONV_2D", bias=np.full(3, 2**31 - 1, np.int32)), "sums can be greater than 32 bits"),
        (model_of("CONV_2D", bias=np.zeros(3, np.int64)), "the bias, is int32 of 24 bytes"),
        (
            model_of("CONV_2D", x=single_layer.activation(SHAPE, (0.5, 3), kind=single_layer.INT16)),
            "tensor 0 is int16, quantized, expected an int8 activation",
        ),
        (
            model_of("FULLY_CONNECTED", bits=4),
            "FULLY_CONNECTED: tensor 1, the weights, is int4 of 180 bytes, expected int8 constants",
        ),
        (model_of("FULLY_CONNECTED", weightsFormat=1), "FULLY_CONNECTED: weights format 1"),
        (
            single_layer.mean(single_layer.activation(SHAPE, (0.5, 3)), (0.5, 3), operator="SUM"),
            "SUM: of 30 pixels, expected one",
        ),
    ],
)
def test_refuses_what_the_kernels_do_not_know(model: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        layers.read(model, "models/odd.tflite")
    assert str(error.value).startswith("models/odd.tflite: ")


@pytest.mark.skipif(not MODELS.is_dir(), reason="no trained network")
def test_reads_the_trained_networks() -> None:
    for path in MODELS.rglob("*.tflite"):
        assert layers.read(path.read_bytes(), str(path)).layers
