"""Read a .tflite file: its operators and their costs, its inputs and its outputs."""

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from ai_edge_litert import schema_py_generated as schema

IDENTIFIER = b"TFL3"
"""Bytes 4 to 8 of a .tflite file."""


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if not name.startswith("_")}


_OPERATORS = _names(schema.BuiltinOperator)
_TYPES = _names(schema.TensorType)
# The errors that the schema's code raises for a damaged file.
_DAMAGE = (struct.error, ValueError, TypeError, IndexError, AttributeError, OverflowError)


@dataclass(frozen=True)
class Tensor:
    """A tensor of a .tflite file.

    Attributes:
        index: its number in the file.
        shape: batch included.
        dtype: TensorFlow Lite's name of the type, in lower case: "int8".
        scale, zero_point: None if the tensor is not quantized, or is quantized per channel.
        data_bytes: size of its constant data, 0 for activations.
    """

    index: int
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None
    data_bytes: int


@dataclass(frozen=True)
class Operator:
    """An operator of a .tflite file.

    Attributes:
        name: in TensorFlow Lite: "CONV_2D".
        inputs: activations and constants.
        outputs: activations.
        macs: multiply-accumulates of a convolution, a depthwise convolution or a fully connected layer, those on
            padding included; 0 for all other operators.
        weight_bytes: size of the constant inputs.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    macs: int
    weight_bytes: int

    @property
    def activations(self) -> list[Tensor]:
        """The inputs that are not constant."""
        return [tensor for tensor in self.inputs if not tensor.data_bytes]


def operators(model: bytes) -> list[Operator]:
    """Return the operators of the .tflite file `model` in order of execution.

    Raises:
        ValueError: `model` is no .tflite file, is damaged, or has more than one subgraph.
    """
    content = unpack(model)
    graph = _only_graph(content)
    tensors = _tensors(content, graph)
    return [
        _operator(_name(content.operatorCodes[entry.opcodeIndex]), tensors, entry.inputs, entry.outputs)
        for entry in graph.operators
    ]


def interface(model: bytes) -> tuple[list[Tensor], list[Tensor]]:
    """Return the inputs and the outputs of the .tflite file `model`.

    Raises:
        ValueError: `model` is no .tflite file, is damaged, or has more than one subgraph.
    """
    content = unpack(model)
    graph = _only_graph(content)
    tensors = _tensors(content, graph)
    return [tensors[index] for index in graph.inputs], [tensors[index] for index in graph.outputs]


class _Shaped(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...


Output = TypeVar("Output", bound=_Shaped)


def logits_and_features(outputs: Sequence[Output]) -> tuple[Output, Output | None]:
    """Return the logits and the features among the outputs of a segment; None for the last segment's features.

    A .tflite file may hold them in either order. Features, (N, H, W, C), have more dimensions than logits, (N, 2).

    Args:
        outputs: all outputs, as tensors or as arrays.

    Raises:
        ValueError: neither one nor two outputs.
    """
    if len(outputs) not in (1, 2):
        raise ValueError(f"{len(outputs)} outputs, expected logits, or logits and features")
    logits, *features = sorted(outputs, key=lambda output: len(output.shape))
    return logits, features[0] if features else None


def outside_buffers(model: bytes) -> int:
    """Return the number of buffers of the .tflite file `model` that lie behind the flatbuffer.

    Raises:
        ValueError: `model` is no .tflite file, or is damaged.
    """
    return _parse(model)[1]


def unpack(model: bytes) -> Any:
    """Return the .tflite file `model` as the schema's ModelT; data of buffers behind the flatbuffer is put into them.

    Raises:
        ValueError: `model` is no .tflite file, or is damaged.
    """
    return _parse(model)[0]


def _parse(model: bytes) -> tuple[Any, int]:
    """Return the ModelT, and the number of buffers that lay behind the flatbuffer."""
    if model[4:8] != IDENTIFIER:
        raise ValueError(f"not a .tflite file: bytes 4 to 8 are {model[4:8]!r}, expected {IDENTIFIER!r}")
    outside = 0
    try:
        content = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
        for buffer in content.buffers:
            if buffer.offset > 1:  # 0: no data outside; 1: a placeholder in a file that is being written
                buffer.data = np.frombuffer(model, np.uint8, buffer.size, buffer.offset)
                outside += 1
            buffer.offset = buffer.size = 0
    except _DAMAGE as error:
        raise ValueError(f"damaged .tflite file of {len(model):,} bytes: {error}") from error
    return content, outside


def _only_graph(content: Any) -> Any:
    if len(content.subgraphs) != 1:
        raise ValueError(f".tflite file with {len(content.subgraphs)} subgraphs, expected 1")
    return content.subgraphs[0]


def _name(code: Any) -> str:
    # The first 127 codes had a field of one byte, which is still written.
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == schema.BuiltinOperator.CUSTOM and code.customCode is not None:
        return str(code.customCode.decode())
    return _OPERATORS.get(number, f"BUILTIN_{number}")


def _tensors(content: Any, graph: Any) -> list[Tensor]:
    return [_tensor(index, tensor, content.buffers[tensor.buffer].data) for index, tensor in enumerate(graph.tensors)]


def _tensor(index: int, tensor: Any, data: Any) -> Tensor:
    record = tensor.quantization
    per_tensor = record is not None and record.scale is not None and len(record.scale) == 1
    return Tensor(
        index=index,
        shape=() if tensor.shape is None else tuple(int(size) for size in tensor.shape),
        dtype=_TYPES.get(tensor.type, f"type_{tensor.type}").lower(),
        scale=float(record.scale[0]) if per_tensor else None,
        zero_point=int(record.zeroPoint[0]) if per_tensor else None,
        data_bytes=0 if data is None else len(data),
    )


def _operator(name: str, tensors: list[Tensor], inputs: Iterable[int], outputs: Iterable[int]) -> Operator:
    sources = tuple(tensors[index] for index in inputs if index >= 0)  # -1: an optional input that is left out
    results = tuple(tensors[index] for index in outputs)
    weight_bytes = sum(tensor.data_bytes for tensor in sources)
    return Operator(name, sources, results, _macs(name, sources, results), weight_bytes)


def _macs(name: str, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> int:
    if name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        return 0
    weights = inputs[1].shape
    # Multiplications for one value of the output: (out, height, width, in), (1, height, width, out) or (out, in).
    each = math.prod(weights[1:3] if name == "DEPTHWISE_CONV_2D" else weights[1:])
    return math.prod(outputs[0].shape) * each
