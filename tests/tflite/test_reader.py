from collections.abc import Callable
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import given, settings
from hypothesis import strategies as st

from earlyexit.tflite import arena
from earlyexit.tflite.compact import compact
from earlyexit.tflite.reader import Operator, interface, operators, outside_buffers
from tests import tiny_tflite

Array = np.ndarray[Any, Any]
KERNELS = [OpResolverType.AUTO, OpResolverType.BUILTIN_REF]


@pytest.fixture(scope="module", params=["litert", "tensorflow"])
def model(request: pytest.FixtureRequest) -> bytes:
    return tiny_tflite.quantized(tiny_tflite.segment(), request.param)


@pytest.fixture(scope="module")
def large() -> bytes:
    """A file so large that its quantizer puts the weights behind the flatbuffer."""
    return tiny_tflite.quantized(tiny_tflite.segment(channels=192, expansion=4))


def answers(model: bytes, images: Array, kernels: OpResolverType) -> list[Array]:
    interpreter = Interpreter(model_content=model, experimental_op_resolver_type=kernels, num_threads=1)
    interpreter.allocate_tensors()
    found: list[Array] = []
    for image in images:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        found += [interpreter.get_tensor(detail["index"]).copy() for detail in interpreter.get_output_details()]
    return found


def noise(model: bytes, count: int = 8) -> Array:
    (tensor,), _ = interface(model)
    rng = np.random.default_rng(1)
    return rng.integers(-128, 128, (count, *tensor.shape[1:]), dtype=np.int8)


def assert_same_answers(before: bytes, after: bytes) -> None:
    for kernels in KERNELS:
        expected = answers(before, noise(before), kernels)
        for a, b in zip(expected, answers(after, noise(before), kernels), strict=True):
            np.testing.assert_array_equal(a, b)
        assert max(int(values.max()) - int(values.min()) for values in expected) > 50


def tables(model: bytes) -> Any:
    return schema.Model.GetRootAs(model, 0)


def tensor_tables(model: bytes) -> list[Any]:
    graph = tables(model).Subgraphs(0)
    return [graph.Tensors(i) for i in range(graph.TensorsLength())]


def test_compact_answers_bit_by_bit_as_before(model: bytes) -> None:
    assert_same_answers(model, compact(model))


def test_compact_is_idempotent_and_deterministic(model: bytes) -> None:
    small = compact(model)
    assert compact(small) == small
    assert compact(bytes(bytearray(model))) == small


def test_compact_leaves_nothing_that_a_device_does_not_need(model: bytes) -> None:
    small = compact(model)
    assert b"a_rather_long_name" in model
    assert b"a_rather_long_name" not in small
    root = tables(small)
    assert root.Description() is None
    assert root.MetadataLength() == root.SignatureDefsLength() == 0
    assert root.BuffersLength() == 1 + len({tensor.Buffer() for tensor in tensor_tables(small)} - {0})
    records = [record for tensor in tensor_tables(small) if (record := tensor.Quantization()) is not None]
    assert records
    assert all(record.MinIsNone() and record.MaxIsNone() and record.ScaleLength() for record in records)


def test_compact_saves_the_repeated_zero_points(model: bytes) -> None:
    stripped = schema.ModelT.InitFromObj(tables(compact(model)))
    builder = flatbuffers.Builder(1024)
    builder.Finish(stripped.Pack(builder), file_identifier=b"TFL3")
    channels = [8, 24, 24, 8]  # each convolution has two such vectors, of its weights and of its biases
    repeated = 2 * sum(channels) - sum(set(channels))
    assert len(builder.Output()) - len(compact(model)) > 8 * repeated


def test_compact_stores_each_vector_once(model: bytes) -> None:
    def position(record: Any) -> int:
        table = record._tab
        return int(table.Vector(table.Offset(10)))  # the fourth field, zero_point

    places: dict[bytes, set[int]] = {}
    for tensor in tensor_tables(compact(model)):
        if (record := tensor.Quantization()) is not None:
            places.setdefault(record.ZeroPointAsNumpy().tobytes(), set()).add(position(record))
    assert max(map(len, places)) == 24 * 8
    assert all(len(found) == 1 for found in places.values())


def test_compact_keeps_buffers_aligned(model: bytes, large: bytes) -> None:
    for content in (compact(model), compact(large)):
        start = np.frombuffer(content, np.uint8).ctypes.data
        root = tables(content)
        data = [root.Buffers(i).DataAsNumpy() for i in range(1, root.BuffersLength())]
        assert len(data) > 5
        assert all((values.ctypes.data - start) % 16 == 0 for values in data)


def test_compact_takes_in_weights_from_behind_the_flatbuffer(large: bytes) -> None:
    assert outside_buffers(large) > 0
    small = compact(large)
    assert outside_buffers(small) == 0
    assert_same_answers(large, small)
    _, features = arena.run(small, noise(large))
    expected = answers(large, noise(large), OpResolverType.BUILTIN_REF)[1::2]
    np.testing.assert_array_equal(features, np.concatenate(expected))


def test_compact_shares_equal_buffers() -> None:
    network = tiny_tflite.Network(8)
    x = network.conv(network.conv(network.input, 3), 3)
    _, weights, _, _, copy, _, _ = network.graph.tensors
    buffers = network.model.buffers
    buffers[copy.buffer] = schema.BufferT(buffers[weights.buffer].data.copy())
    small = compact(network.finish(x))
    assert len({tensor.Buffer() for tensor in tensor_tables(small)}) == 1 + 3


@settings(max_examples=8, deadline=None)
@given(
    size=st.integers(4, 20),
    channels=st.integers(4, 20),  # fewer can all be dead, which no kernel accepts
    expansion=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_compact_of_any_segment(size: int, channels: int, expansion: int, seed: int) -> None:
    model = tiny_tflite.quantized(tiny_tflite.segment(size, channels, expansion, seed))
    small = compact(model)
    assert len(small) < len(model)
    assert compact(small) == small
    for a, b in zip(*(answers(m, noise(model, 3), OpResolverType.BUILTIN_REF) for m in (model, small)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert operators(small) == operators(model)
    assert interface(small) == interface(model)


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
