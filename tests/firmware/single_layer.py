"""INT8 .tflite files of a single layer, written through the schema."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from earlyexit.tflite import int4
from earlyexit.tflite.compact import pack

ACTIVATIONS = schema.ActivationFunctionType
INT16 = schema.TensorType.INT16
Quantization = tuple[float, int]
_VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 5, "ADD": 2, "MEAN": 2, "SUM": 2}


def activation(shape: Sequence[int], quantization: Quantization, kind: int = schema.TensorType.INT8) -> Any:
    return _tensor((1, *shape), kind, [quantization[0]], quantization[1])


def window(
    kind: str,
    x: Any,
    weights: np.ndarray,
    scales: Sequence[float],
    bias: np.ndarray | None,
    output: Quantization,
    *,
    stride: Sequence[int] = (1, 1),
    same: bool = True,
    function: int = ACTIVATIONS.NONE,
    bits: int = 8,
    **options: Any,
) -> bytes:
    """`weights` in the order of the file, of `bits`; `kind` is the operator, which reads the activation `x`."""
    common = {
        "padding": schema.Padding.SAME if same else schema.Padding.VALID,
        "strideH": stride[0],
        "strideW": stride[1],
        "fusedActivationFunction": function,
    }
    if kind == "FULLY_CONNECTED":
        made = schema.FullyConnectedOptionsT(fusedActivationFunction=function, **options)
        shape: tuple[int, ...] = (weights.shape[0],)
    else:
        axes = (1, 2)
        shape = tuple(
            -(-x.shape[axis] // step) if same else (x.shape[axis] - weights.shape[axis]) // step + 1
            for axis, step in zip(axes, stride, strict=True)
        )
        shape = (*shape, weights.shape[0] if kind == "CONV_2D" else weights.shape[3])
        if kind == "CONV_2D":
            made = schema.Conv2DOptionsT(**(common | options))
        else:
            made = schema.DepthwiseConv2DOptionsT(**({"depthMultiplier": 1} | common | options))
    axis = 3 if kind == "DEPTHWISE_CONV_2D" else 0
    kind_of_weights = {8: schema.TensorType.INT8, 4: schema.TensorType.INT4}[bits]
    stored = weights if bits == 8 else int4.packed(weights)
    constants = [(_tensor(weights.shape, kind_of_weights, scales, 0, axis), stored)]
    if bias is not None:
        in_scale = np.float32(x.quantization.scale[0])
        products = [float(in_scale * np.float32(scale)) for scale in scales]
        constants.append((_tensor(bias.shape, schema.TensorType.INT32, products, 0), bias))
    return _file((kind, [x], constants, activation(shape, output), made))


def add(
    x: Any,
    weights: np.ndarray,
    scales: Sequence[float],
    between: Quantization,
    output: Quantization,
    function: int = ACTIVATIONS.NONE,
) -> bytes:
    """x + pointwise convolution of x: an ADD of two activations of different scales, in a file with one input."""
    y = activation(x.shape[1:], between)
    constants = [
        (_tensor(weights.shape, schema.TensorType.INT8, scales, 0), weights),
        (_tensor((len(weights),), schema.TensorType.INT32, scales, 0), np.zeros(len(weights), np.int32)),
    ]
    options = schema.AddOptionsT(fusedActivationFunction=function, potScaleInt16=False)
    conv = schema.Conv2DOptionsT(padding=schema.Padding.VALID, strideH=1, strideW=1)
    return _file(("CONV_2D", [x], constants, y, conv), ("ADD", [x, y], [], activation(x.shape[1:], output), options))


def mean(x: Any, output: Quantization, *, operator: str = "MEAN", keep: bool = False) -> bytes:
    axes = np.array([1, 2], np.int32)
    shape = (1, 1, x.shape[3]) if keep else (x.shape[3],)
    constant = (schema.TensorT(shape=[2], type=schema.TensorType.INT32, hasRank=True), axes)
    return _file((operator, [x], [constant], activation(shape, output), schema.ReducerOptionsT(keepDims=keep)))


def _tensor(shape: Sequence[int], kind: int, scales: Sequence[float], zero_point: int, axis: int = 0) -> Any:
    record = schema.QuantizationParametersT(
        scale=np.array(scales, np.float32),
        zeroPoint=np.full(len(scales), zero_point, np.int64),
        quantizedDimension=axis,
    )
    return schema.TensorT(shape=np.array(shape, np.int32), type=kind, quantization=record, hasRank=True)


def _file(*layers: tuple[str, list[Any], list[tuple[Any, np.ndarray]], Any, Any]) -> bytes:
    """A file of operators: name, activations that come in, constants, the activation that goes out, options."""
    buffers = [schema.BufferT()]
    tensors = [layers[0][1][0]]
    operators = []
    for number, (_, inputs, constants, output, options) in enumerate(layers):
        for tensor, values in constants:
            tensor.buffer = len(buffers)
            buffers.append(schema.BufferT(np.frombuffer(values.tobytes(), np.uint8)))
        sources = [*inputs, *(tensor for tensor, _ in constants)]
        tensors += [tensor for tensor, _ in constants] + [output]
        operators.append(
            schema.OperatorT(
                opcodeIndex=number,
                inputs=np.array([tensors.index(tensor) for tensor in sources], np.int32),
                outputs=np.array([len(tensors) - 1], np.int32),
                builtinOptionsType=getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T")),
                builtinOptions=options,
            )
        )
    graph = schema.SubGraphT(
        tensors=tensors,
        inputs=np.array([0], np.int32),
        outputs=np.array([len(tensors) - 1], np.int32),
        operators=operators,
    )
    table = []
    for name, *_ in layers:
        code = getattr(schema.BuiltinOperator, name)
        table.append(schema.OperatorCodeT(min(code, 127), None, _VERSIONS[name], code))
    return pack(schema.ModelT(version=3, operatorCodes=table, subgraphs=[graph], buffers=buffers))
