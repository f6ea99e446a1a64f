"""Lines against TensorFlow Lite's arithmetic: for every sum that a channel's weights can give."""

import numpy as np
import pytest

from earlyexit.budget.blueprint import blueprint
from earlyexit.firmware import fixed_point, layers, requantization
from earlyexit.firmware.layers import Depthwise, Window
from tests import tiny_network
from tests.firmware import single_layer
from tests.firmware.single_layer import ACTIVATIONS


def window(
    rng: np.random.Generator,
    zero_point: int,
    factors: np.ndarray,
    *,
    depthwise: bool = False,
    depth: int = 9,
    bits: int = 8,
    sparse: bool = False,
) -> Window:
    """A layer whose channels bring their sums to outputs by `factors`; sparse: weights of -1, 0 and 1, mostly 0."""
    top = 2 ** (bits - 1) - 1
    channels = len(factors)
    shape = (1, 3, 3, channels) if depthwise else (channels, 1, 1, depth)
    weights = rng.integers(-top, top + 1, shape, np.int8)
    if sparse:
        weights = np.sign(weights) * (rng.random(shape) < 0.25)
    bias = rng.integers(*((-500, 500) if sparse else (-5000, 5000)), channels)
    return layer_of(weights, bias, factors, zero_point, bits)


def layer_of(weights: np.ndarray, bias: np.ndarray, factors: np.ndarray, zero_point: int, bits: int = 8) -> Window:
    """A layer of these numbers: 3x3 depthwise for weights (1, 3, 3, C), else pointwise."""
    depthwise = len(weights) == 1
    depth = weights.shape[3]
    model = single_layer.window(
        "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
        single_layer.activation((3, 3, depth), (0.02, 5)),
        weights.astype(np.int8),
        (factors * 0.03 / 0.02).tolist(),
        bias.astype(np.int32),
        (0.03, zero_point),
        function=ACTIVATIONS.RELU if zero_point == -128 else ACTIVATIONS.NONE,
        bits=bits,
    )
    (layer,) = layers.read(model, "layer").layers
    assert isinstance(layer, Window)
    return layer


def outputs(layer: Window, found: requantization.Lines, channel: int, sums: np.ndarray) -> np.ndarray:
    """By the line, as the kernels have it; `sums` without the bias."""
    total = found.starts[channel] + (0 * sums if found.constant[channel] else sums << found.scales[channel])
    assert np.abs(total).max() < 2**31
    height = (total * found.multipliers[channel] + 2**31) >> 32
    height += found.offsets[channel] - np.where(total < 0, found.steps[channel], 0)
    assert np.abs(height).max() < 2**31
    clipped: np.ndarray = np.clip(height >> found.shift, -128, 127)
    return clipped


def check(layer: Window) -> int:
    """Compare all channels that have a line over all sums; return the number of those that have none."""
    found = requantization.lines(layer)
    wide = layer.weights.astype(np.int64)
    reach = 128 * np.abs(wide).sum((0, 1) if isinstance(layer, Depthwise) else (1, 2, 3))
    for channel in np.flatnonzero(found.equal):
        up, down = (
            np.clip(wide[..., channel] if isinstance(layer, Depthwise) else wide[channel], *limits).sum()
            for limits in ((0, None), (None, 0))
        )
        sums = np.arange(127 * down - 128 * up, 127 * up - 128 * down + 1)
        assert np.abs(sums).max() <= reach[channel]
        values = fixed_point.requantize(
            sums + layer.bias[channel], int(layer.multipliers[channel]), int(layer.shifts[channel])
        )
        expected = np.clip(values + layer.zero_point, -128, 127)
        assert np.array_equal(outputs(layer, found, int(channel), sums), expected)
    if found.rectified:
        assert found.shift == requantization.RECTIFIED_SHIFT
        assert len(set(found.offsets.tolist())) == 1
        assert not found.steps.any()
    return int((~found.equal).sum())


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("zero_point", [-128, -3, 40])
def test_lines_give_the_bytes_of_tensorflow_lite(zero_point: int, depthwise: bool) -> None:
    rng = np.random.default_rng(zero_point + 128)
    factors = 2.0 ** rng.uniform(-10, -6.5, 64)
    assert check(window(rng, zero_point, factors, depthwise=depthwise)) <= 1


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("zero_point", [-128, -3, 40])
def test_lines_of_four_bits_give_the_bytes_of_tensorflow_lite(zero_point: int, depthwise: bool) -> None:
    rng = np.random.default_rng(zero_point + 128)
    layer = window(rng, zero_point, 2.0 ** rng.uniform(-6, -2.5, 64), depthwise=depthwise, bits=4)
    assert check(layer) <= 1
    assert requantization.lines(layer).scales.min() >= (8 if depthwise else 12)


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("zero_point", [-128, -3, 40])
def test_lines_of_few_steps_give_no_other_outputs_at_the_ends(zero_point: int, depthwise: bool) -> None:
    rng = np.random.default_rng(zero_point + 128)
    for factor in (1 / 8, 1 / 4, 1 / 2):
        check(window(rng, zero_point, factor * rng.uniform(0.5, 1, 64), depthwise=depthwise, sparse=True))


def test_a_rectified_line_stays_below_the_output_after_the_last() -> None:
    weights = np.zeros((1, 3, 3, 64), np.int8)
    weights[:, 0, 1], weights[:, 2, 0] = -1, -1
    layer = layer_of(weights, np.arange(-250, -186), np.full(64, 0.494147), -128)
    assert check(layer) == 0
    assert requantization.lines(layer).rectified


def test_factors_that_no_line_serves_are_left_to_the_exact_arithmetic() -> None:
    rng = np.random.default_rng(0)
    factors = np.array([2.0**-8] * 30 + [1.7, 2.0**3])
    layer = window(rng, -128, factors)
    assert check(layer) == 2
    assert requantization.lines(layer).rectified


def test_large_factors_throughout_have_a_shift_of_their_own() -> None:
    rng = np.random.default_rng(0)
    layer = window(rng, -128, 2.0 ** rng.uniform(-3.9, -3, 16), depth=2)
    assert check(layer) == 0
    assert not requantization.lines(layer).rectified


def test_channels_of_one_value_are_constant() -> None:
    rng = np.random.default_rng(0)
    layer = window(rng, -128, np.array([2.0**-7, 2.0**-30]))
    assert requantization.lines(layer).constant.tolist() == [False, True]
    assert check(layer) == 0


def test_no_channel_of_the_depthwise_layers_of_a_network_needs_the_exact_arithmetic() -> None:
    for family in tiny_network.FAMILIES:
        for model in blueprint(tiny_network.architecture(family)):
            for layer in layers.read(model, "segment").layers:
                if isinstance(layer, Depthwise):
                    assert requantization.lines(layer).equal.all()
