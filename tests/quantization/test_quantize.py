from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from earlyexit.quantization import quantize as module
from earlyexit.quantization.quantize import Quantizer, quantize
from earlyexit.tflite.compact import compact
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.reader import interface, operators
from earlyexit.tflite.segment import Quantization, Segment, all_logits
from tests.conftest import Exported

QUANTIZERS: tuple[Quantizer, ...] = ("litert", "tensorflow")
each_quantizer = pytest.mark.parametrize("quantizer", QUANTIZERS)
Deployments = dict[Quantizer, Deployment]


@each_quantizer
def test_all_is_int8_to_the_ends(deployments: Deployments, quantizer: Quantizer) -> None:
    for model in deployments[quantizer].models:
        inputs, outputs = interface(model)
        assert {tensor.dtype for tensor in [*inputs, *outputs]} == {"int8"}
        for operator in operators(model):
            assert operator.name not in ("QUANTIZE", "DEQUANTIZE")
            assert {t.dtype for t in operator.inputs if not t.data_bytes} == {"int8"}


@each_quantizer
def test_files_are_compact(deployments: Deployments, exported: Exported, quantizer: Quantizer) -> None:
    for model, before in zip(deployments[quantizer].models, exported.segments, strict=True):
        assert compact(model) == model
        assert len(model) < len(before)


@each_quantizer
def test_features_pass_untouched(deployments: Deployments, quantizer: Quantizer) -> None:
    for before, after in pairwise(deployments[quantizer].segments()):
        given_, taken = before.features_quantization, after.input_quantization
        assert given_ is not None
        assert before.features_shape == after.input_shape
        assert given_.zero_point == taken.zero_point
        assert given_.scale == pytest.approx(taken.scale, rel=1e-6)


@each_quantizer
def test_pixels_become_int8_by_subtracting_128(
    deployments: Deployments, exported: Exported, quantizer: Quantizer
) -> None:
    network = deployments[quantizer]
    assert network.segments()[0].input_quantization == Quantization(1 / 128, 0)
    assert np.array_equal(network.quantize(exported.images), (exported.images.astype(np.int16) - 128).astype(np.int8))


@each_quantizer
def test_int8_logits_follow_the_float_ones(deployments: Deployments, exported: Exported, quantizer: Quantizer) -> None:
    network = deployments[quantizer]
    fp32 = all_logits([Segment(model) for model in exported.segments], exported.normalized, "FP32")
    int8 = all_logits(network.segments(), network.quantize(exported.images), "INT8")
    assert int8.dtype == np.int8
    for expected, found, segment in zip(fp32, int8, network.segments(), strict=True):
        scale = segment.logits_quantization.scale
        real = scale * (found.astype(np.int64) - segment.logits_quantization.zero_point)
        assert np.abs(real - expected).max() < 12 * scale
        assert np.abs(real - expected).mean() < 4 * scale
        assert int(found.max()) - int(found.min()) > 100  # most of INT8 is used


def test_both_quantizers_agree(deployments: Deployments, exported: Exported) -> None:
    a, b = (
        all_logits(network.segments(), network.quantize(exported.images), "INT8").astype(np.int64)
        for network in deployments.values()
    )
    assert np.abs(a - b).max() <= 6


@each_quantizer
def test_same_input_same_bytes(deployments: Deployments, exported: Exported, quantizer: Quantizer) -> None:
    range_ = exported.network.architecture.pixels.range
    assert quantize(exported.segments, exported.normalized, range_, quantizer) == deployments[quantizer].models


def test_the_input_range_does_not_depend_on_the_images(exported: Exported) -> None:
    grey = exported.normalized[:4] / 4
    (model,) = quantize(exported.segments[:1], grey, exported.network.architecture.pixels.range, "litert")
    assert Segment(model).input_quantization == Quantization(1 / 128, 0)


def test_ranges_do_not_depend_on_the_order_of_the_images(exported: Exported) -> None:
    range_ = exported.network.architecture.pixels.range
    images = exported.normalized[:24]
    forward, backward = (quantize(exported.segments[:2], x, range_, "litert") for x in (images, images[::-1].copy()))
    assert forward == backward


def test_a_passage_of_two_scales_is_refused(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module._litert

    def forgetful(model: bytes, samples: Any, input_range: Any, shared: Any) -> Any:
        content, ranges = real(model, samples, input_range, shared)
        return content, ranges and {key: value * 2 for key, value in ranges.items()}

    monkeypatch.setattr(module, "_litert", forgetful)
    range_ = exported.network.architecture.pixels.range
    with pytest.raises(ValueError, match=r"segment 1 gives features at Quantization.* but segment 2 takes"):
        quantize(exported.segments[:2], exported.normalized[:4], range_, "litert")
