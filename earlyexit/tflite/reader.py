"""The bytes of a .tflite file: packed small without changing an answer, and read for what its operators cost."""

import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

_IDENTIFIER = b"TFL3"
_MOST_DIMENSIONS = 8


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if not name.startswith("_")}


_OPERATORS = _names(schema.BuiltinOperator)
_TYPES = _names(schema.TensorType)
_DAMAGE = (
    struct.error,
    ValueError,
    TypeError,
    IndexError,
    AttributeError,
    OverflowError,
)  # what the schema's code raises
# Of each table the fields that are strings (None) or vectors of tables: all that unpacking copies.
_COPIED: dict[str, Any] = {
    "Description": None,
    "OperatorCodes": {"CustomCode": None},
    "Subgraphs": {"Name": None, "Tensors": {"Name": None, "VariantTensors": {}}, "Operators": {}},
    "Buffers": {},
    "Metadata": {"Name": None},
    "SignatureDefs": {"SignatureKey": None, "Inputs": {"Name": None}, "Outputs": {"Name": None}},
    "ExternalBufferGroups": {"Name": None},
    "ExternalBuffers": {"Packing": None},
}


@dataclass(frozen=True)
class Tensor:
    """A tensor of a .tflite file.

    `index` is its number in the file. `dtype` is TensorFlow Lite's name of the type in lower case ("int8"). `scale`
    and `zero_point` are None where the tensor is not quantized, or is quantized per channel. `data_bytes` is the size
    of its constant data, 0 for activations.
    """

    index: int
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None
    data_bytes: int


@dataclass(frozen=True)
class Operator:
    """An operator of a .tflite file: its name in TensorFlow Lite ("CONV_2D"), inputs (constants too) and outputs.

    `macs` counts the multiply-accumulates of convolutions, depthwise convolutions and fully connected layers for the
    shapes in the file, padding included; it is 0 for all else. `weight_bytes` is the size of the constant inputs.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    macs: int
    weight_bytes: int


def operators(model: bytes) -> list[Operator]:
    """Return the operators of the .tflite file `model` in the order in which they are executed.

    Raises:
        ValueError: `model` is no .tflite file, a damaged one, or has more than one subgraph.
    """
    content = _parsed(model)
    graph = _only_graph(content)
    tensors = _tensors(content, graph)
    return [
        _operator(_name(content.operatorCodes[entry.opcodeIndex]), tensors, entry.inputs, entry.outputs)
        for entry in graph.operators
    ]


def interface(model: bytes) -> tuple[list[Tensor], list[Tensor]]:
    """Return the inputs and the outputs of the .tflite file `model`, with their scales and zero points.

    Raises:
        ValueError: `model` is no .tflite file, a damaged one, or has more than one subgraph.
    """
    content = _parsed(model)
    graph = _only_graph(content)
    tensors = _tensors(content, graph)
    return [tensors[index] for index in graph.inputs], [tensors[index] for index in graph.outputs]


def outside_buffers(model: bytes) -> int:
    """Return how many buffers of the .tflite file `model` lie behind the flatbuffer, where TFLM misses them.

    Raises:
        ValueError: `model` is no .tflite file, or a damaged one.
    """
    return sum(_is_outside(buffer) for buffer in _unpacked(model).buffers)


def _unpacked(model: bytes) -> Any:
    if bytes(model[4:8]) != _IDENTIFIER:
        raise ValueError(f"not a .tflite file: bytes 4 to 8 are {bytes(model[4:8])!r}, expected {_IDENTIFIER!r}")
    try:
        root = schema.Model.GetRootAs(model, 0)
        _check_extent(root, len(model))
        content = schema.ModelT.InitFromObj(root)
        _check_numbers(content, len(model))
    except _DAMAGE as error:
        raise ValueError(f"damaged .tflite file of {len(model):,} bytes: {error}") from error
    return content


def _check_extent(root: Any, size: int) -> None:
    """Refuse a file of overlapping tables: a small one can stand for gigabytes once it is unpacked."""
    if any(total > size for total in accumulate(_copied(root, _COPIED))):
        raise ValueError("its tables overlap")
    for graph in map(root.Subgraphs, range(root.SubgraphsLength())):
        if any(graph.Tensors(i).Sparsity() is not None for i in range(graph.TensorsLength())):
            raise ValueError("sparse tensors are unknown")
        for entry in map(graph.Operators, range(graph.OperatorsLength())):
            strings = entry.BuiltinOptionsType() == schema.BuiltinOptions.VarHandleOptions
            if strings or entry.BuiltinOptions2Type() != schema.BuiltinOptions2.NONE:
                raise ValueError("StableHLO operators and variables are unknown")


def _copied(table: Any, fields: dict[str, Any]) -> Iterator[int]:
    """Yield the bytes of each string and of each vector of tables, the latter before its tables are looked at."""
    for name, below in fields.items():
        if below is None:
            yield len(getattr(table, name)() or b"")
            continue
        count = getattr(table, f"{name}Length")()
        yield 4 * count
        for number in range(count):
            yield from _copied(getattr(table, name)(number), below)


def _check_numbers(content: Any, size: int) -> None:
    """Refuse numbers of tensors, buffers and operator codes that there are not, and shapes that are none."""
    if not (content.subgraphs and content.buffers and content.operatorCodes):
        raise ValueError("no subgraph, buffer or operator code")
    codes, buffers = len(content.operatorCodes), len(content.buffers)
    for graph in content.subgraphs:
        tensors = len(graph.tensors)
        ends = [
            graph.inputs,
            graph.outputs,
            *(end for entry in graph.operators for end in (entry.inputs, entry.outputs)),
        ]
        if sum(map(len, ends)) > size:
            raise ValueError("its lists of tensors overlap")
        _check_range("tensor", [*graph.inputs, *graph.outputs], tensors)
        _check_range("operator code", [entry.opcodeIndex for entry in graph.operators], codes)
        _check_range("buffer", [tensor.buffer for tensor in graph.tensors], buffers)
        for entry in graph.operators:
            _check_range("tensor", [*entry.inputs], tensors, first=-1)  # -1: an optional input left out
            _check_range("tensor", [*entry.outputs], tensors)
        for tensor in graph.tensors:
            shape = () if tensor.shape is None else tensor.shape
            if len(shape) > _MOST_DIMENSIONS or min(shape, default=0) < 0:
                raise ValueError(f"a tensor of {len(shape)} dimensions, the smallest {min(shape, default=0)}")
            record = tensor.quantization
            if record is not None and _count(record.scale) != _count(record.zeroPoint):
                raise ValueError(f"{_count(record.scale)} scales with {_count(record.zeroPoint)} zero points")


def _count(vector: Any) -> int:
    return 0 if vector is None else len(vector)


def _check_range(what: str, numbers: list[int], count: int, first: int = 0) -> None:
    for number in numbers:
        if not first <= number < count:
            raise ValueError(f"{what} {number} of {count}")


def _parsed(model: bytes) -> Any:
    """Return `model` as the schema's ModelT, buffers that lie behind the flatbuffer put in their place."""
    content = _unpacked(model)
    for number, buffer in enumerate(content.buffers):
        if _is_outside(buffer):
            end = buffer.offset + buffer.size
            if end > len(model):
                raise ValueError(f"damaged .tflite file: buffer {number} ends at byte {end:,} of {len(model):,}")
            buffer.data = np.frombuffer(model, np.uint8, buffer.size, buffer.offset)
        buffer.offset = buffer.size = 0
    # A vector that several buffers share is one, with one address.
    places = {(buffer.data.ctypes.data, len(buffer.data)) for buffer in content.buffers if buffer.data is not None}
    if sum(length for _, length in places) > len(model):
        raise ValueError(f"damaged .tflite file of {len(model):,} bytes: its buffers overlap")
    return content


def _is_outside(buffer: Any) -> bool:
    return int(buffer.offset) > 1  # 0: not used; 1: a placeholder while a file is being written


def _only_graph(content: Any) -> Any:
    if len(content.subgraphs) != 1:
        raise ValueError(f".tflite file with {len(content.subgraphs)} subgraphs, expected 1")
    return content.subgraphs[0]


def _trimmed(quantization: Any) -> Any:
    """Drop the calibration range, which no runtime reads, or the whole record where it has no scale."""
    if quantization is None or quantization.scale is None or len(quantization.scale) == 0:
        return None
    quantization.min = quantization.max = None
    return quantization


def _name(code: Any) -> str:
    # Codes up to 127 used to have a field of one byte, which old readers still look at.
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == schema.BuiltinOperator.CUSTOM and code.customCode is not None:
        name = str(code.customCode.decode())
        return name if name.isprintable() else repr(name)
    return _OPERATORS.get(number, f"BUILTIN_{number}")


def _tensors(content: Any, graph: Any) -> list[Tensor]:
    return [_tensor(index, tensor, content.buffers[tensor.buffer].data) for index, tensor in enumerate(graph.tensors)]


def _tensor(index: int, tensor: Any, data: Any) -> Tensor:
    quantization = _trimmed(tensor.quantization)
    per_tensor = quantization is not None and len(quantization.scale) == 1
    return Tensor(
        index=index,
        shape=() if tensor.shape is None else tuple(int(size) for size in tensor.shape),
        dtype=_TYPES.get(tensor.type, f"type_{tensor.type}").lower(),
        scale=float(quantization.scale[0]) if per_tensor else None,
        zero_point=int(quantization.zeroPoint[0]) if per_tensor else None,
        data_bytes=0 if data is None else len(data),
    )


def _operator(name: str, tensors: list[Tensor], inputs: Iterable[int], outputs: Iterable[int]) -> Operator:
    sources = tuple(tensors[index] for index in inputs if index >= 0)  # -1: an optional input left out
    results = tuple(tensors[index] for index in outputs)
    weight_bytes = sum(tensor.data_bytes for tensor in sources)
    return Operator(name, sources, results, _macs(name, sources, results), weight_bytes)


def _macs(name: str, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> int:
    if name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        return 0
    if len(inputs) < 2 or len(inputs[1].shape) < 2 or not outputs:
        raise ValueError(f"damaged .tflite file: {name} without weights or output")
    weights = inputs[1].shape
    # Multiplications for one value of the output: (out, height, width, in), (1, height, width, out) or (out, in).
    each = math.prod(weights[1:3] if name == "DEPTHWISE_CONV_2D" else weights[1:])
    return math.prod(outputs[0].shape) * each
