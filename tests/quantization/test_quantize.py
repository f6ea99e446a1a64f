from itertools import pairwise
from typing import Any, get_args

import numpy as np
import pytest
from ai_edge_quantizer import calibrator, recipe, recipe_manager
from ai_edge_quantizer import quantizer as ai_edge
from ai_edge_quantizer.utils import qsv_utils

from earlyexit.quantization import quantize as module
from earlyexit.quantization.quantize import quantize
from earlyexit.quantization.recipe import Quantizer, Ranges
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
        assert given_.agrees_with(taken)


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


def test_weights_have_a_scale_for_each_channel_or_one(per_tensor: Deployment, deployed: Deployment) -> None:
    for network, one in ((per_tensor, True), (deployed, False)):
        layers = [layer for model in network.models for layer in operators(model) if layer.macs]
        assert {tensor.scale is not None for layer in layers for tensor in layer.inputs[1:]} == {one}


def test_the_default_is_ai_edge_quantizer_s_own_recipe_with_extremes(exported: Exported, deployed: Deployment) -> None:
    model = exported.segments[0]
    observer = calibrator.Calibrator(model, num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(recipe.static_wi8_ai8())
    observer.calibrate({module.SIGNATURE: [{"args_0": x[None]} for x in exported.normalized]}, manager)
    tool = ai_edge.Quantizer(model, recipe.static_wi8_ai8())
    expected = tool.quantize(observer.get_model_qsvs(), enable_progress_report=False).quantized_model
    assert deployed.models[0] == compact(bytes(expected))


def test_per_tensor_weights_take_less_flash_and_hardly_move_the_logits(
    per_tensor: Deployment, deployed: Deployment, exported: Exported
) -> None:
    for before, after in zip(deployed.models, per_tensor.models, strict=True):
        assert len(after) < len(before)
    fp32 = all_logits([Segment(model) for model in exported.segments], exported.normalized, "FP32")
    int8 = all_logits(per_tensor.segments(), per_tensor.quantize(exported.images), "INT8")
    for expected, found, segment in zip(fp32, int8, per_tensor.segments(), strict=True):
        scale, zero_point = segment.logits_quantization.scale, segment.logits_quantization.zero_point
        assert np.abs(scale * (found.astype(np.int64) - zero_point) - expected).mean() < 6 * scale


def test_moving_averages_are_inside_the_extremes(exported: Exported) -> None:
    range_ = exported.network.architecture.pixels.range
    models = [
        quantize(exported.segments, exported.normalized[:24], range_, "litert", ranges=ranges)
        for ranges in get_args(Ranges)
    ]
    scales = [np.array([segment.logits_quantization.scale for segment in map(Segment, found)]) for found in models]
    assert (scales[1] < scales[0]).all()
    assert Segment(models[1][0]).input_quantization == Quantization(1 / 128, 0)


def test_of_four_bits_are_the_weights_of_convolutions_alone(four_bits: Deployment, deployed: Deployment) -> None:
    for model, eight in zip(four_bits.models, deployed.models, strict=True):
        inputs, outputs = interface(model)
        assert {tensor.dtype for tensor in [*inputs, *outputs]} == {"int8"}
        for layer, other in zip(operators(model), operators(eight), strict=True):
            four = layer.name in ("CONV_2D", "DEPTHWISE_CONV_2D")
            assert layer.name == other.name
            assert layer.inputs[1].dtype == ("int4" if four else other.inputs[1].dtype)
            assert layer.outputs[0].dtype == "int8"
            if four:
                assert layer.inputs[1].data_bytes == -(-other.inputs[1].data_bytes // 2)


@pytest.mark.parametrize("choice", [{"weights": "per_tensor"}, {"ranges": "moving_average"}, {"bits": 4}])
def test_what_the_quantizer_does_not_offer_is_refused(exported: Exported, choice: Any) -> None:
    with pytest.raises(ValueError, match=rf"^ptq.{next(iter(choice))}: .*, but ptq.quantizer is tensorflow"):
        quantize(exported.segments, exported.normalized, (-1, 1), "tensorflow", **choice)


def test_features_of_two_scales_are_refused(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module._litert

    def forgetful(*arguments: Any) -> Any:
        content, ranges = real(*arguments)
        return content, ranges and {key: value * 2 for key, value in ranges.items()}

    monkeypatch.setattr(module, "_litert", forgetful)
    range_ = exported.network.architecture.pixels.range
    with pytest.raises(ValueError, match=r"segment 1 gives features at Quantization.* but segment 2 takes"):
        quantize(exported.segments[:2], exported.normalized[:4], range_, "litert")
