import re

import numpy as np
import onnx
import pytest
import torch

from earlyexit.model.network import ConvUnit
from earlyexit.quantization.convert import WEIGHT_FLOOR, check_parity, keep_biases, largest_difference, to_onnx
from earlyexit.tflite.reader import interface, operators
from tests import tiny_network
from tests.conftest import Exported


@pytest.fixture(scope="module")
def model(exported: Exported) -> bytes:
    return to_onnx(exported.network)


@pytest.mark.parametrize("family", tiny_network.FAMILIES)
def test_a_channel_without_weights_keeps_its_bias(family: tiny_network.Family) -> None:
    network = tiny_network.network(tiny_network.architecture(family)).fold()
    x = network.normalize(torch.from_numpy(tiny_network.images(8)))
    before = [value.clone() for value in network.state_dict().values()]
    keep_biases(network)
    assert all(torch.equal(a, b) for a, b in zip(before, network.state_dict().values(), strict=True))
    units = [module for module in network.modules() if isinstance(module, ConvUnit)]
    with torch.no_grad():
        for unit in units:
            unit.conv.weight[1] = 1e-30
            assert unit.conv.bias is not None
            unit.conv.bias[1] = -0.5
        expected = network(x)
        keep_biases(network)
        for unit in units:
            largest = max(0.5, float(unit.conv.weight.abs().max()))
            assert float(unit.conv.weight[1].abs().max()) == pytest.approx(largest * WEIGHT_FLOOR)
        for found, wanted in zip(network(x), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=0, atol=2e-2)


def test_segments_hold_no_operator_that_moves_data_about(exported: Exported) -> None:
    wanted = {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED"}
    for segment in exported.segments:
        assert {operator.name for operator in operators(segment)} <= wanted


def test_each_segment_takes_what_the_one_before_gives(exported: Exported) -> None:
    shapes = []
    for segment in exported.segments:
        inputs, outputs = interface(segment)
        shapes.append([sorted((t.shape for t in end), key=len) for end in (inputs, outputs)])
    assert shapes == [
        [[(1, 40, 40, 3)], [(1, 2), (1, 10, 10, 8)]],
        [[(1, 10, 10, 8)], [(1, 2), (1, 10, 10, 8)]],
        [[(1, 10, 10, 8)], [(1, 2)]],
    ]


def test_segments_have_the_networks_multiply_accumulates(exported: Exported) -> None:
    counted = []

    def count(module: torch.nn.Conv2d | torch.nn.Linear, pixels: int) -> None:
        counted.append(module.weight.numel() * pixels)

    hooks = []
    for module in exported.network.modules():
        if hasattr(module, "norm") and hasattr(module, "conv"):
            hooks.append(module.register_forward_hook(lambda m, _, y: count(m.conv, y.shape[2] * y.shape[3])))
        elif isinstance(module, torch.nn.Linear):
            hooks.append(module.register_forward_hook(lambda m, *_: count(m, 1)))
    with torch.no_grad():
        exported.network(torch.zeros(1, 3, 40, 40))
    for hook in hooks:
        hook.remove()
    assert sum(operator.macs for segment in exported.segments for operator in operators(segment)) == sum(counted)


def test_all_runtimes_agree(exported: Exported, model: bytes) -> None:
    found = largest_difference(exported.network, model, exported.segments, exported.images)
    assert list(found) == ["onnxruntime", "litert"]
    for values in found.values():
        assert list(values) == ["exit1", "exit2", "final"]
        assert all(0 <= value < 1e-4 for value in values.values())
    check_parity(found, 1e-4)


def test_a_difference_is_found_and_measured(exported: Exported, model: bytes) -> None:
    other = onnx.load_from_string(model)
    (bias,) = (w for w in other.graph.initializer if w.name == "classifier.linear.bias")
    bias.raw_data = (np.frombuffer(bias.raw_data, np.float32) + np.array([0, 0.25], np.float32)).tobytes()
    changed = other.SerializeToString()
    found = largest_difference(exported.network, changed, exported.segments, exported.images[:4])
    assert found["onnxruntime"]["final"] == pytest.approx(0.25, abs=1e-4)
    assert found["onnxruntime"]["exit1"] < 1e-4
    assert found["litert"]["final"] < 1e-4


def test_parity_names_all_that_differ() -> None:
    difference = {
        "onnxruntime": {"exit1": 0.001, "final": 0.0011},
        "litert": {"exit1": float("nan"), "final": 0.0},
    }
    message = (
        "differ from PyTorch's by more than export.tolerance = 0.001: onnxruntime final by 0.0011, litert exit1 by nan"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        check_parity(difference, 0.001)


def test_onnx_names_its_ends(model: bytes) -> None:
    graph = onnx.load_from_string(model).graph
    assert [entry.name for entry in graph.input] == ["image"]
    assert [entry.name for entry in graph.output] == ["exit1", "exit2", "final"]
    sizes = [dim.dim_value or dim.dim_param for dim in graph.input[0].type.tensor_type.shape.dim]
    assert sizes[1:] == [3, 40, 40]
    assert isinstance(sizes[0], str)


def test_onnx_is_the_same_bytes_every_time(exported: Exported, model: bytes) -> None:
    assert to_onnx(exported.network) == model
    assert b"/earlyexit/" not in model  # no paths of the machine that made it
