from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st

from earlyexit.tflite.compact import compact
from earlyexit.tflite.reader import Operator, interface, logits_and_features, operators, outside_buffers
from tests import tiny_tflite


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\x1c\x00\x00\x00TFL4" + bytes(100), bytes(1000)])
def test_what_is_no_tflite_file_is_refused(content: bytes) -> None:
    functions: list[Callable[[bytes], Any]] = [compact, operators, interface, outside_buffers]
    for function in functions:
        with pytest.raises(ValueError, match=r"not a \.tflite file"):
            function(content)


@settings(max_examples=100, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(model: bytes, large: bytes, share: float) -> None:
    for content in (model, compact(model), large):
        cut = content[: int(share * len(content))]
        with pytest.raises(ValueError, match=r"damaged \.tflite file|not a \.tflite file"):
            compact(cut)


def test_operators_in_order_with_their_costs() -> None:
    found = operators(tiny_tflite.segment(size=12, channels=8, expansion=3))
    assert [operator.name for operator in found] == [
        "CONV_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED",
    ]  # fmt: skip
    assert [operator.macs for operator in found] == [
        36 * 8 * 27, 36 * 24 * 8, 36 * 24 * 9, 36 * 8 * 24, 0, 0, 2 * 8,
    ]  # fmt: skip
    floats = [8 * 27 + 8, 24 * 8 + 24, 24 * 9 + 24, 8 * 24 + 8, 0, 2, 2 * 8 + 2]
    assert [operator.weight_bytes for operator in found] == [4 * count for count in floats]
    assert [tensor.shape for tensor in found[0].inputs] == [(1, 12, 12, 3), (8, 3, 3, 3), (8,)]
    assert [tensor.shape for tensor in found[0].outputs] == [(1, 6, 6, 8)]
    assert found[4].inputs == (*found[0].outputs, *found[3].outputs)


def test_operators_know_the_types_of_a_quantized_file(model: bytes) -> None:
    by_name = {operator.name: operator for operator in operators(model)}
    conv = by_name["CONV_2D"]
    assert isinstance(conv, Operator)
    assert [tensor.dtype for tensor in (*conv.inputs, *conv.outputs)] == ["int8", "int8", "int32", "int8"]
    assert conv.weight_bytes == 8 * 24 + 4 * 8
    assert conv.inputs[1].scale is None
    assert conv.inputs[0].scale is not None


def test_interface_agrees_with_litert(model: bytes) -> None:
    interpreter = Interpreter(model_content=model)
    inputs, outputs = interface(model)
    for found, expected in (
        (inputs, interpreter.get_input_details()),
        (outputs, interpreter.get_output_details()),
    ):
        assert [tensor.index for tensor in found] == [detail["index"] for detail in expected]
        assert [tensor.shape for tensor in found] == [tuple(detail["shape"]) for detail in expected]
        assert [(tensor.scale, tensor.zero_point) for tensor in found] == [
            pytest.approx(detail["quantization"], rel=1e-6) for detail in expected
        ]
    assert {tensor.dtype for tensor in (*inputs, *outputs)} == {"int8"}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_logits_and_features_are_told_apart_in_either_order(order: tuple[int, int]) -> None:
    logits, features = np.zeros((5, 2)), np.zeros((5, 3, 4, 8))
    outputs = [(logits, features)[place] for place in order]
    found = logits_and_features(outputs)
    assert (found[0] is logits, found[1] is features) == (True, True)
    assert logits_and_features([logits])[1] is None


@pytest.mark.parametrize("count", [0, 3])
def test_other_numbers_of_outputs_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} outputs, expected logits, or logits and features"):
        logits_and_features([np.zeros((1, 2))] * count)


def test_custom_operators_keep_their_name() -> None:
    network = tiny_tflite.Network(8)
    model = network.finish(network.custom(network.input, "Sharpen"))
    assert [operator.name for operator in operators(compact(model))] == ["Sharpen"]


def test_several_subgraphs_are_refused() -> None:
    network = tiny_tflite.Network(8)
    y = network.conv(network.input, 4)
    network.model.subgraphs.append(network.graph)
    with pytest.raises(ValueError, match="2 subgraphs"):
        operators(network.finish(y))
