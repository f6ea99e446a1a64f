from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from earlyexit.tflite import arena
from earlyexit.tflite.compact import compact
from earlyexit.tflite.reader import interface, logits_and_features, operators, outside_buffers
from earlyexit.tflite.segment import Segment
from tests import tiny_tflite

Array = np.ndarray[Any, Any]


def noise(model: bytes, count: int = 8) -> Array:
    (tensor,), _ = interface(model)
    return np.random.default_rng(1).integers(-128, 128, (count, *tensor.shape[1:]), dtype=np.int8)


def assert_same_answers(before: bytes, after: bytes) -> None:
    for reference in (False, True):
        one, other = Segment(before, reference=reference), Segment(after, reference=reference)
        seen = []
        for image in noise(before):
            for expected, found in zip(one(image), other(image), strict=True):
                np.testing.assert_array_equal(found, expected)
                seen.append(found)
        assert max(int(values.max()) - int(values.min()) for values in seen if values is not None) > 50


def tables(model: bytes) -> Any:
    return schema.Model.GetRootAs(model, 0)


def tensor_tables(model: bytes) -> list[Any]:
    graph = tables(model).Subgraphs(0)
    return [graph.Tensors(i) for i in range(graph.TensorsLength())]


def test_answers_bit_by_bit_as_before(model: bytes) -> None:
    assert_same_answers(model, compact(model))


def test_leaves_nothing_that_a_device_does_not_need(model: bytes) -> None:
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


def test_stores_each_vector_once(model: bytes) -> None:
    def position(record: Any) -> int:
        table = record._tab
        return int(table.Vector(table.Offset(10)))  # the fourth field, zero_point

    places: dict[bytes, set[int]] = {}
    for tensor in tensor_tables(compact(model)):
        if (record := tensor.Quantization()) is not None:
            places.setdefault(record.ZeroPointAsNumpy().tobytes(), set()).add(position(record))
    assert max(map(len, places)) == 24 * 8
    assert all(len(found) == 1 for found in places.values())


def test_keeps_buffers_aligned(model: bytes, large: bytes) -> None:
    for content in (compact(model), compact(large)):
        start = np.frombuffer(content, np.uint8).ctypes.data
        root = tables(content)
        data = [root.Buffers(i).DataAsNumpy() for i in range(1, root.BuffersLength())]
        assert len(data) > 5
        assert all((values.ctypes.data - start) % 16 == 0 for values in data)


def test_takes_in_weights_from_behind_the_flatbuffer(large: bytes) -> None:
    assert outside_buffers(large) > 0
    small = compact(large)
    assert outside_buffers(small) == 0
    assert_same_answers(large, small)
    _, features = logits_and_features(arena.run(small, noise(large)))
    segment = Segment(large, reference=True)
    np.testing.assert_array_equal(features, [segment(image)[1] for image in noise(large)])


def test_shares_equal_buffers() -> None:
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
def test_any_segment(size: int, channels: int, expansion: int, seed: int) -> None:
    model = tiny_tflite.quantized(tiny_tflite.segment(size, channels, expansion, seed))
    small = compact(model)
    assert len(small) < len(model)
    assert compact(small) == small
    one, other = Segment(model, reference=True), Segment(small, reference=True)
    for image in noise(model, 3):
        for expected, found in zip(one(image), other(image), strict=True):
            np.testing.assert_array_equal(found, expected)
    assert operators(small) == operators(model)
    assert interface(small) == interface(model)
