"""Kernels in C, plain and with the DSP code's instructions emulated, against TensorFlow Lite Micro and LiteRT."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from earlyexit.firmware import emit, layers
from earlyexit.firmware.layers import Layer
from earlyexit.tflite import arena
from earlyexit.tflite.segment import Segment
from tests.firmware import single_layer
from tests.firmware.host import Driver
from tests.firmware.single_layer import ACTIVATIONS

FUNCTIONS = [ACTIVATIONS.NONE, ACTIVATIONS.RELU, ACTIVATIONS.RELU6, ACTIVATIONS.RELU_N1_TO_1]
ZERO_POINTS = st.one_of(st.sampled_from([-128, 127, 0]), st.integers(-128, 127))
EXAMPLES = settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


@pytest.fixture(scope="module")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Driver]]:
    with (
        Driver(tmp_path_factory.mktemp("plain"), dsp=False) as plain,
        Driver(tmp_path_factory.mktemp("dsp"), dsp=True) as dsp,
    ):
        yield [plain, dsp]


@dataclass(frozen=True, repr=False)
class Case:
    model: bytes
    inputs: np.ndarray


@st.composite
def windows(draw: st.DrawFn, kind: str, bits: int = 8) -> Case:
    """A single layer with weights, and inputs: ordinary, extreme in scale, or saturating."""
    top = 2 ** (bits - 1) - 1
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    stride = draw(st.sampled_from([(1, 1), (2, 2), (1, 2), (3, 2)])) if kind != "pointwise" else (1, 1)
    kernel = (
        draw(st.sampled_from([(3, 3), (3, 3), (1, 1), (2, 3), (5, 5)])) if kind in ("conv", "depthwise") else (1, 1)
    )
    same = draw(st.booleans())
    height, width = (draw(st.integers(1 if same else size, 13)) for size in kernel)
    inputs = draw(st.integers(1, 41 if kind != "conv" else 9))
    outputs = inputs if kind == "depthwise" else draw(st.integers(1, 19))
    in_shape = (height, width, inputs) if kind != "dense" else (inputs,)
    shape = {"dense": (outputs, inputs), "depthwise": (1, *kernel, inputs)}.get(kind, (outputs, *kernel, inputs))

    weights = rng.integers(-top, top + 1, shape, np.int8)
    if draw(st.integers(0, 5)) == 0:
        weights = np.sign(weights).astype(np.int8) * np.int8(top)
    if bits == 4 and draw(st.booleans()):
        # The quantizer gives no -8, but a file may hold it.
        weights = np.where(rng.random(shape) < 0.1, np.int8(-8), weights)
    # Nearly all of 32 bits, less what the weights can add: more than the DSP code's arithmetic has room for.
    largest = draw(st.sampled_from([3000, 3000, 3000, 2**31 - 1 - 2**24]))
    values = rng.integers(-3000, 3000, outputs) if largest == 3000 else rng.choice([-largest, largest], outputs)
    if kind != "depthwise" and draw(st.integers(0, 3)) == 0:
        # A channel that training left dead: no weights, and a bias that its scale has driven to the end of 32 bits.
        dead = int(rng.integers(outputs))
        weights[dead], values[dead] = 0, rng.choice([-(2**31), 2**31 - 1])
    bias = None if kind == "dense" and draw(st.booleans()) else values.astype(np.int32)
    in_scale, out_scale = (float(np.float32(rng.uniform(0.005, 0.2))) for _ in range(2))
    depth = weights.size // outputs
    # Ordinary factors bring sums into the range of the output; others make nothing or extremes of them.
    ordinary = st.just(1 - bits - np.log2(depth) / 2)
    middle = draw(st.one_of(ordinary, st.integers(-36, 5)) if largest == 3000 else st.integers(-25, -19))
    factors = 2.0 ** (middle + rng.uniform(-1.5, 1.5, outputs))
    per_channel = kind == "dense" or draw(st.integers(0, 5)) > 0
    scales = (factors * out_scale / in_scale)[: outputs if per_channel else 1]
    in_zero_point, out_zero_point = draw(ZERO_POINTS), draw(ZERO_POINTS)
    function = draw(st.sampled_from(FUNCTIONS))
    names = {"depthwise": "DEPTHWISE_CONV_2D", "dense": "FULLY_CONNECTED"}
    model = single_layer.window(
        names.get(kind, "CONV_2D"),
        single_layer.activation(in_shape, (in_scale, in_zero_point)),
        weights,
        scales.tolist(),
        bias,
        (out_scale, out_zero_point),
        stride=stride,
        same=same,
        function=function,
        bits=bits,
    )
    images = rng.integers(-128, 128, (3, *in_shape), np.int8)
    images[1] = np.where(images[1] < 0, -128, 127)
    images[2] = draw(st.sampled_from([-128, 127, in_zero_point]))
    return Case(model, images)


def shaped(layer: Layer, x: np.ndarray) -> np.ndarray:
    return x.reshape(layer.in_shape)


def check(drivers: list[Driver], case: Case, *, litert: bool = True) -> None:
    (layer,) = layers.read(case.model, "case.tflite").layers
    (expected,) = arena.run(case.model, case.inputs)
    if litert:
        segment = Segment(case.model, reference=True)
        assert np.array_equal([segment(x)[0] for x in case.inputs], expected)
    for driver in drivers:
        found = [driver.run(layer, shaped(layer, x)) for x in case.inputs]
        assert np.array_equal(np.reshape(found, expected.shape), expected)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("kind", ["conv", "pointwise", "depthwise"])
def test_window_equals_tflm_and_litert(drivers: list[Driver], kind: str, bits: int) -> None:
    @EXAMPLES
    @given(windows(kind, bits))
    def compare(case: Case) -> None:
        check(drivers, case)

    compare()


@EXAMPLES
@given(windows("dense"))
def test_dense_equals_tflm(drivers: list[Driver], case: Case) -> None:
    check(drivers, case, litert=False)


@EXAMPLES
@given(
    operator_and_size=st.one_of(
        st.tuples(st.just("MEAN"), st.tuples(st.integers(1, 13), st.integers(1, 13))), st.just(("SUM", (1, 1)))
    ),
    channels=st.integers(1, 20),
    zero_points=st.tuples(ZERO_POINTS, ZERO_POINTS),
    ratio=st.one_of(st.just(0.0), st.floats(-8, 5)),
    keep=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_mean_equals_tflm_and_litert(
    drivers: list[Driver],
    operator_and_size: tuple[str, tuple[int, int]],
    channels: int,
    zero_points: tuple[int, int],
    ratio: float,
    keep: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    scale = float(np.float32(rng.uniform(0.005, 0.2)))
    operator, size = operator_and_size
    shape = (*size, channels)
    ratio = 0.0 if operator == "SUM" else ratio
    output = float(np.float32(scale * 2**ratio)), zero_points[1] if ratio else zero_points[0]
    x = single_layer.activation(shape, (scale, zero_points[0]))
    values = rng.integers(-128, 128, (2, *shape), np.int8)
    values[1] = rng.choice([-128, 127])
    check(drivers, Case(single_layer.mean(x, output, operator=operator, keep=keep), values))


@EXAMPLES
@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 9)),
    zero_points=st.tuples(ZERO_POINTS, ZERO_POINTS, ZERO_POINTS),
    ratios=st.tuples(st.one_of(st.just(0.0), st.floats(-34, 34)), st.floats(-12, 12)),
    function=st.sampled_from(FUNCTIONS),
    seed=st.integers(0, 2**32 - 1),
)
def test_add_equals_tflm_and_litert(
    drivers: list[Driver],
    shape: tuple[int, int, int],
    zero_points: tuple[int, int, int],
    ratios: tuple[float, float],
    function: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    scale = float(np.float32(rng.uniform(0.005, 0.2)))
    between = float(np.float32(scale * 2 ** ratios[0]))
    output = float(np.float32(max(scale, between) * 2 ** ratios[1]))
    channels = shape[2]
    weights = rng.integers(-127, 128, (channels, 1, 1, channels), np.int8)
    scales = [0.01 * between / scale] * channels
    x = single_layer.activation(shape, (scale, zero_points[0]))
    model = single_layer.add(x, weights, scales, (between, zero_points[1]), (output, zero_points[2]), function)
    values = rng.integers(-128, 128, (2, *shape), np.int8)
    values[1] = rng.choice([-128, 127])
    (expected,) = arena.run(model, values)
    segment = Segment(model, reference=True)
    assert np.array_equal([segment(value)[0] for value in values], expected)
    pointwise, add = layers.read(model, "add.tflite").layers
    for driver in drivers:
        found = [driver.run(add, value, driver.run(pointwise, value)) for value in values]
        assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("kind", "bits"), [("dense", 8), *((kind, bits) for kind in ("conv", "pointwise", "depthwise") for bits in (8, 4))]
)
def test_output_that_leads_enough_may_overlap_the_input(drivers: list[Driver], kind: str, bits: int) -> None:
    @EXAMPLES
    @given(windows(kind, bits), st.integers(0, 60))
    def compare(case: Case, more: int) -> None:
        (layer,) = layers.read(case.model, "case.tflite").layers
        for lead in (emit.leads(layer)[0], emit.leads(layer)[0] + more):
            for driver in drivers:
                overlap(driver, layer, lead, [shaped(layer, case.inputs[0])], 0)

    compare()


@pytest.mark.parametrize("which", [0, 1])
def test_add_and_mean_in_place(drivers: list[Driver], which: int) -> None:
    rng = np.random.default_rng(which)
    x = single_layer.activation((3, 5, 7), (0.1, 3))
    weights = rng.integers(-127, 128, (7, 1, 1, 7), np.int8)
    _, add = layers.read(single_layer.add(x, weights, [0.01], (0.2, -3), (0.15, 9)), "add.tflite").layers
    (mean,) = layers.read(single_layer.mean(x, (0.05, 9)), "mean.tflite").layers
    values = [rng.integers(-128, 128, (3, 5, 7), np.int8) for _ in range(2)]
    for driver in drivers:
        for lead in (0, 1, 13):
            overlap(driver, add, lead, values, which)
            overlap(driver, mean, lead, values[:1], 0)


def overlap(driver: Driver, layer: Layer, lead: int, inputs: list[np.ndarray], which: int) -> None:
    """Run with the output `lead` bytes before input `which`; another input and a guard lie behind."""
    expected = driver.run(layer, *inputs).ravel()
    end = max(expected.size, lead + inputs[which].size)
    arena_bytes = np.full(end + sum(x.size for x in inputs) + 8, 55, np.int8)
    places = [lead if number == which else end for number in range(len(inputs))]
    for place, x in zip(places, inputs, strict=True):
        arena_bytes[place : place + x.size] = x.ravel()
    after = driver.run_in(layer, arena_bytes, places, 0)
    assert np.array_equal(after[: expected.size], expected)
    assert np.array_equal(after[end:], arena_bytes[end:]), "bytes beside input and output were written"
