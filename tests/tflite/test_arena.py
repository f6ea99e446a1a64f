import subprocess
import sys
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import pytest

from earlyexit.tflite import arena
from earlyexit.tflite.compact import compact
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.reader import interface, operators
from earlyexit.tflite.segment import Segment
from tests import tiny_tflite

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def model() -> bytes:
    return compact(tiny_tflite.quantized(tiny_tflite.segment(size=16)))


@pytest.fixture(scope="module")
def noise(model: bytes) -> Array:
    (tensor,), _ = interface(model)
    rng = np.random.default_rng(1)
    return rng.integers(-128, 128, (50, *tensor.shape[1:]), dtype=np.int8)


def chain() -> bytes:
    network = tiny_tflite.Network(16)
    x = network.conv(network.input, 8, stride=2)
    return network.finish(network.conv(x, 4, stride=2))


def test_many_files_are_measured_at_once() -> None:
    models = [chain(), compact(tiny_tflite.quantized(tiny_tflite.segment(size=16))), chain()]
    assert arena.measure_all(models) == [arena.measure(model) for model in models]


def test_measured_arena_is_the_smallest_that_works(model: bytes) -> None:
    measured = arena.measure(model)
    assert measured.total == measured.head + measured.tail
    script = (
        "import sys; from tflite_micro import runtime;"
        "runtime.Interpreter.from_bytes(sys.stdin.buffer.read(), arena_size=int(sys.argv[1])).invoke()"
    )
    codes = [
        subprocess.run([sys.executable, "-c", script, str(size)], input=model, capture_output=True).returncode
        for size in (measured.total + 16, measured.total - 16)
    ]
    assert codes[0] == 0
    assert codes[1] != 0


def test_the_head_of_a_chain_is_its_largest_pair_of_activations() -> None:
    # The input and the first output are the largest: 16 x 16 x 3 and 8 x 8 x 8 floats.
    assert arena.measure(chain()).head == arena.peak(chain()).bytes == 4 * (16 * 16 * 3 + 8 * 8 * 8)


@pytest.mark.parametrize(("channels", "expansion"), [(2, 1), (8, 3), (13, 5)])
def test_peak_is_a_lower_bound_of_the_head(channels: int, expansion: int) -> None:
    model = compact(tiny_tflite.quantized(tiny_tflite.segment(channels=channels, expansion=expansion)))
    top = arena.peak(model)
    assert top.bytes <= arena.measure(model).head <= 1.25 * top.bytes


def test_a_shortcut_stays_alive_over_its_block(model: bytes) -> None:
    # 8 x 8 pixels: the block's input (8 channels) waits while 24 channels are read and 24 written.
    top = arena.peak(model)
    assert (top.index, top.name, top.bytes) == (2, "DEPTHWISE_CONV_2D", 64 * (8 + 24 + 24))
    assert (top.inputs, top.outputs) == (((1, 8, 8, 24),), ((1, 8, 8, 24),))


def test_an_output_stays_alive_to_the_end() -> None:
    network = tiny_tflite.Network(4, channels=4)
    features = network.conv(network.input, 4)
    x = network.conv(features, 1)
    for _ in range(2):
        x = network.conv(x, 8)
    assert arena.peak(network.finish(x)).bytes == 4 * 16 * (8 + 8)
    assert arena.peak(network.finish(x, features)).bytes == 4 * 16 * (8 + 8 + 4)


def test_weights_of_four_bits_are_unpacked_to_the_head(four_bits: Deployment, deployed: Deployment) -> None:
    for four, eight in zip(four_bits.models, deployed.models, strict=True):
        top = arena.peak(four)
        unpacked = sum(prod(tensor.shape) for tensor in operators(four)[top.index].inputs if tensor.dtype == "int4")
        assert top.bytes >= unpacked > 0
        assert top.bytes <= arena.measure(four).head
        assert arena.measure(four).head >= arena.measure(eight).head


def test_peak_reads_as_a_sentence() -> None:
    assert str(arena.peak(chain())) == "CONV_2D 16x16x3 -> 8x8x8 (5,120 bytes)"


def test_run_agrees_with_litert(model: bytes, noise: Array) -> None:
    reference = Segment(model, reference=True)
    logits, features = arena.run(model, noise)
    assert logits.shape == (50, 2)
    assert features.shape == (50, 8, 8, 8)
    for row, image in enumerate(noise):
        expected = reference(image)
        # LiteRT's reference kernel rescales a fully connected layer in float, TFLM in integers: one step apart at most.
        np.testing.assert_allclose(logits[row], expected[0], atol=1)
        np.testing.assert_array_equal([features[row]], [expected[1]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, :-1], r"int8 \(50, 15, 16, 3\), the model takes int8 \('n', 16, 16, 3\)"),
        (lambda x: x.astype(np.float32), "float32"),
        (lambda x: x.view(np.uint8), "uint8"),
        (lambda x: x[0], "16, 16, 3"),
    ],
)
def test_run_refuses_inputs_that_do_not_fit(
    model: bytes, noise: Array, change: Callable[[Array], Array], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        arena.run(model, change(noise))


def test_run_of_nothing_is_nothing(model: bytes, noise: Array) -> None:
    assert [answer.shape for answer in arena.run(model, noise[:0])] == [(0, 2), (0, 8, 8, 8)]


def test_weights_that_tflm_would_miss_are_refused(noise: Array) -> None:
    large = tiny_tflite.quantized(tiny_tflite.segment(channels=192, expansion=4))
    for function in (arena.measure, arena.peak, lambda model: arena.run(model, noise)):
        with pytest.raises(ValueError, match=r"use tflite\.compact"):
            function(large)


def test_what_tflm_cannot_load_is_refused(noise: Array) -> None:
    network = tiny_tflite.Network(16)
    model = network.finish(network.custom(network.input, "Sharpen"))
    with pytest.raises(ValueError, match=r"TFLM cannot load .*CUSTOM"):
        arena.measure(model)
    with pytest.raises(ValueError, match=r"TFLM cannot load .*CUSTOM"):
        arena.measure_all([chain(), model, chain()])
    with pytest.raises(ValueError, match="TFLM cannot load"):
        arena.run(model, noise.astype(np.float32))
