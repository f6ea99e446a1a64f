"""Files of quantization-aware training, against the network that rounded in training."""

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from earlyexit.firmware.layers import Dense, Depthwise, Layer, Window, read
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.model.ranges import SegmentRanges
from earlyexit.quantization import convert
from earlyexit.quantization.quantize import quantize
from earlyexit.quantization.recipe import Weights
from earlyexit.tflite.reader import Operator, interface, operators
from earlyexit.tflite.segment import Segment, all_logits, quantize_images
from earlyexit.training.fake_quantization import fake_quantized, learned_ranges
from tests import tiny_network

IMAGES = tiny_network.images(64, seed=1)
FORMATS: list[tuple[int, Weights]] = [(8, "per_channel"), (8, "per_tensor"), (4, "per_channel"), (4, "per_tensor")]
Made = tuple[EarlyExitNetwork, list[bytes]]


def folded() -> EarlyExitNetwork:
    network = tiny_network.network(tiny_network.architecture()).fold()
    convert.keep_biases(network)
    return network


@pytest.fixture(scope="module")
def float_segments() -> list[bytes]:
    return convert.to_tflite(folded())


@pytest.fixture(scope="module", params=FORMATS, ids=lambda choice: f"{choice[0]} bits, {choice[1]}")
def made(request: pytest.FixtureRequest, float_segments: list[bytes]) -> Made:
    """A network that rounds and has learned its ranges, and its quantized files.

    The files are made of the float weights: rounding them again changes none.
    """
    bits, weights = request.param
    rounding = fake_quantized(folded(), bits, weights == "per_channel", steps=4)
    x = rounding.normalize(torch.from_numpy(IMAGES))
    with torch.no_grad():
        for _ in range(2):
            rounding.train()(x)
    rounding.eval()
    range_ = rounding.architecture.pixels.range
    learned = learned_ranges(rounding)
    return rounding, quantize(float_segments, np.zeros(0), range_, "litert", weights, bits=bits, learned=learned)


def layers_of(module: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


def integers(layer: Layer, trained: nn.Module) -> np.ndarray:
    """The file's weights of a layer, in the order of PyTorch's: (outputs, all others)."""
    assert isinstance(layer, Window | Dense)
    weights = layer.weights
    if isinstance(layer, Depthwise):
        weights = np.moveaxis(weights, -1, 0)
    elif weights.ndim == 4:
        weights = np.moveaxis(weights, 3, 1)
    return weights.reshape(len(weights), -1).astype(float)


def pairs(
    network: EarlyExitNetwork, models: list[bytes]
) -> Iterator[tuple[Operator, np.ndarray, nn.Conv2d | nn.Linear]]:
    """Each operator that has weights, its integers, and the layer of `network`."""
    for segment, model in zip(network.segments(), models, strict=True):
        layers = [layer for layer in read(model, "segment").layers if isinstance(layer, Window | Dense)]
        weighted = [operator for operator in operators(model) if operator.macs]
        for operator, layer, trained in zip(weighted, layers, layers_of(segment), strict=True):
            yield operator, integers(layer, trained), trained


def scales(weight: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The scale of each channel."""
    largest: np.ndarray = np.abs(weight).max(1) / np.abs(found).max(1)
    return largest


def test_integer_weights_are_those_of_training(made: Made) -> None:
    compared = 0
    for _, found, trained in pairs(*made):
        weight = trained.weight.detach().flatten(1).numpy()
        assert np.allclose(weight, found * scales(weight, found)[:, None], rtol=1e-5, atol=0)
        compared += found.size
    assert compared > 1000


def test_ranges_are_those_of_training(made: Made) -> None:
    rounding, models = made
    for ranges, model in zip(learned_ranges(rounding), models, strict=True):
        (taken,), _ = interface(model)
        tensors = [taken, *(operator.outputs[0] for operator in operators(model))]
        for (low, high), tensor in zip(ranges, tensors, strict=True):
            assert tensor.scale is not None
            assert tensor.scale == pytest.approx((high - low) / 255, rel=1e-5)
            assert tensor.zero_point == round(-128 - low / tensor.scale)


def test_answers_are_those_of_training_with_the_biases_of_the_file(made: Made) -> None:
    rounding, models = copy.deepcopy(made[0]), made[1]
    bits = 4 if any(operator.inputs[1].dtype == "int4" for operator, *_ in pairs(*made)) else 8
    for operator, found, trained in pairs(rounding, models):
        taken = operator.inputs[0].scale
        assert taken is not None and trained.bias is not None
        step = torch.from_numpy(scales(trained.weight.detach().flatten(1).numpy(), found) * taken)
        with torch.no_grad():
            trained.bias.copy_((trained.bias.double() / step).round() * step)
    segments = list(map(Segment, models))
    pixels = rounding.architecture.pixels
    found = all_logits(segments, quantize_images(IMAGES, pixels, segments[0].input_quantization), "quantized")
    with torch.no_grad():
        expected = torch.stack(rounding(rounding.normalize(torch.from_numpy(IMAGES)))).numpy()
    for logits, real, segment in zip(found, expected, segments, strict=True):
        scale, zero_point = segment.logits_quantization.scale, segment.logits_quantization.zero_point
        steps = np.abs(logits - np.rint(real / scale) - zero_point)
        # Kernels round twice: first to some bits after the point, then to an integer. The fewer bits a weight has, the
        # fewer bits these are, and the more often a value that is a little below a half is rounded up.
        assert steps.mean() < {8: 0.1, 4: 3}[bits]


def test_ranges_of_another_network_are_named(float_segments: list[bytes]) -> None:
    learned: list[SegmentRanges] = [[(-1, 1)] * 3 for _ in float_segments]
    with pytest.raises(ValueError, match=r"^segment 1 has \d+ tensors of activations, but 3 ranges$"):
        quantize(float_segments, np.zeros(0), (-1, 1), "litert", learned=learned)
