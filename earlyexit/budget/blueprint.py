"""Write the quantized .tflite files of an untrained network, to measure what it costs without training or conversion.

Operators, tensors and quantization records equal those of `convert.to_tflite` and `quantize.quantize` (litert); weights
are random. Arena and multiply-accumulates do not depend on the weights, and flash only by some bytes.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from earlyexit.model.architecture import HEAD_STRIDES, Architecture, Block
from earlyexit.quantization.recipe import EIGHT_BITS, WeightFormat
from earlyexit.task import CLASSES
from earlyexit.tflite import int4
from earlyexit.tflite.compact import pack

_LINEAR = schema.ActivationFunctionType.NONE
_ACTIVATIONS = {"mobilenet_v2": schema.ActivationFunctionType.RELU6, "mobilenet_v1": schema.ActivationFunctionType.RELU}
_SAME, _VALID = schema.Padding.SAME, schema.Padding.VALID
_VERSIONS = {"FULLY_CONNECTED": 5}  # as ai-edge-quantizer writes them; 1 for all else
_LOWEST = -128


class _Integers(NamedTuple):
    """The integers of weights, drawn evenly from -largest to largest."""

    type: int
    largest: int
    deviation: float


_WEIGHTS = {8: _Integers(schema.TensorType.INT8, 127, 73), 4: _Integers(schema.TensorType.INT4, 7, 4.3)}  # by bits

_Layer = Callable[["_File", Any], Any]


def blueprint(architecture: Architecture, weights: WeightFormat = EIGHT_BITS) -> list[bytes]:
    """Return a quantized .tflite file of random weights for each segment of `architecture`; equal input, equal bytes.

    The features of a segment have the scale and zero point of the next one's input, so the files run as a cascade.
    The files of a trained network differ in size by some bytes: a file stores equal vectors once, and chance decides
    which vectors are equal.
    """
    layers = dict(_layers(architecture))
    rng = np.random.default_rng(0)
    given = _tensor(
        (1, architecture.resolution, architecture.resolution, 3),
        schema.TensorType.INT8,
        _of_range(*architecture.pixels.range),
    )
    segments = architecture.segment_blocks
    models = []
    for number, names in enumerate(segments):
        file = _File(given, rng, weights)
        x = file.input
        for name in names:
            x = layers[name](file, x)
        last = number == len(segments) - 1
        logits = _classify(file, x if last else _head_convolution(architecture, number, file, x))
        models.append(file.finish([logits] if last else [logits, x]))
        given = _tensor(x.shape, schema.TensorType.INT8, x.quantization)
    return models


class _File:
    """A .tflite file under construction; each method adds an operator and returns its output, a TensorT."""

    def __init__(self, given: Any, rng: np.random.Generator, weights: WeightFormat) -> None:
        self.input = given
        self._rng = rng
        self._format = weights
        self._zero_points = cycle(range(1, 128))  # all different, up to 127 of them
        self._data: dict[Any, np.ndarray] = {}
        self._operators: list[tuple[str, list[Any], Any, Any]] = []

    def conv(self, x: Any, channels: int, act: int, kernel: int = 1, stride: int = 1) -> Any:
        """Add a convolution, (H, W, C) to (ceil(H / stride), ceil(W / stride), channels)."""
        height, width, inputs = _shape(x)
        options = schema.Conv2DOptionsT(
            padding=_VALID if kernel == 1 else _SAME, strideH=stride, strideW=stride, fusedActivationFunction=act
        )
        constants = self._weights(x, (channels, kernel, kernel, inputs), 0, self._format.bits)
        output = self._activation((-(-height // stride), -(-width // stride), channels), act)
        return self._add("CONV_2D", [x, *constants], output, options)

    def depthwise(self, x: Any, act: int, stride: int) -> Any:
        """Add a 3x3 depthwise convolution, (H, W, C) to (ceil(H / stride), ceil(W / stride), C)."""
        height, width, channels = _shape(x)
        options = schema.DepthwiseConv2DOptionsT(
            padding=_SAME, strideH=stride, strideW=stride, depthMultiplier=1, fusedActivationFunction=act
        )
        constants = self._weights(x, (1, 3, 3, channels), 3, self._format.bits)
        output = self._activation((-(-height // stride), -(-width // stride), channels), act)
        return self._add("DEPTHWISE_CONV_2D", [x, *constants], output, options)

    def add(self, a: Any, b: Any) -> Any:
        """Add the sum of two tensors of one shape."""
        return self._add("ADD", [a, b], self._activation(_shape(a), _LINEAR), schema.AddOptionsT())

    def pool(self, x: Any) -> Any:
        """Add the mean over the image, (H, W, C) to (C,); for a single pixel the converter writes a sum."""
        height, width, channels = _shape(x)
        axes = self._constant(np.array([1, 2], np.int32), schema.TensorType.INT32, None)
        if height == width == 1:
            name, quantization = "SUM", x.quantization
        else:
            name, quantization = "MEAN", self._quantization(rectified=x.quantization.zeroPoint[0] == _LOWEST)
        output = _tensor((1, channels), schema.TensorType.INT8, quantization)
        return self._add(name, [x, axes], output, schema.ReducerOptionsT())

    def linear(self, x: Any, outputs: int) -> Any:
        """Add a fully connected layer, (C,) to (outputs,)."""
        constants = self._weights(x, (outputs, *_shape(x)), 0, 8)
        options = schema.FullyConnectedOptionsT(keepNumDims=True)
        return self._add("FULLY_CONNECTED", [x, *constants], self._activation((outputs,), _LINEAR), options)

    def finish(self, outputs: Sequence[Any]) -> bytes:
        """Return the file's content."""
        constants = self._ordered_constants()
        tensors = [self.input, *constants, *(output for _, _, output, _ in self._operators)]
        numbers = {tensor: number for number, tensor in enumerate(tensors)}
        buffers = [schema.BufferT()]
        for tensor in constants:
            tensor.buffer = len(buffers)
            buffers.append(schema.BufferT(np.frombuffer(self._data[tensor].tobytes(), np.uint8)))
        names = list(dict.fromkeys(name for name, *_ in self._operators))
        graph = schema.SubGraphT(
            tensors=tensors,
            inputs=np.array([0], np.int32),
            outputs=_indices(numbers, outputs),
            operators=[
                schema.OperatorT(
                    opcodeIndex=names.index(name),
                    inputs=_indices(numbers, inputs),
                    outputs=_indices(numbers, [output]),
                    builtinOptionsType=getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T")),
                    builtinOptions=options,
                )
                for name, inputs, output, options in self._operators
            ],
        )
        codes = [_code(name) for name in names]
        content = schema.ModelT(version=3, operatorCodes=codes, subgraphs=[graph], buffers=buffers)
        return pack(content)

    def _add(self, name: str, inputs: list[Any], output: Any, options: Any) -> Any:
        self._operators.append((name, inputs, output, options))
        return output

    def _ordered_constants(self) -> list[Any]:
        """Return the constants in about the converter's order, which determines the padding between buffers."""
        *operators, pool, linear = [inputs[1:] for name, inputs, *_ in self._operators if name != "ADD"]
        weights, biases = zip(*operators, strict=True)
        return [*reversed(linear), *pool, *reversed(biases[1:]), *reversed(weights), biases[0]]

    def _activation(self, shape: tuple[int, ...], act: int) -> Any:
        if act == schema.ActivationFunctionType.RELU6:
            quantization = _of_range(0, 6)
        else:
            quantization = self._quantization(rectified=act != _LINEAR)
        return _tensor((1, *shape), schema.TensorType.INT8, quantization)

    def _quantization(self, *, rectified: bool) -> Any:
        return _record(self._rng.uniform(0.02, 0.1), _LOWEST if rectified else next(self._zero_points))

    def _weights(self, x: Any, shape: tuple[int, ...], axis: int, bits: int) -> tuple[Any, Any]:
        channels, per_channel, kind = shape[axis], self._format.per_channel, _WEIGHTS[bits]
        fan_in = np.prod(shape) / channels
        # The output spreads as the input does.
        scales = self._rng.uniform(0.5, 1.5, channels if per_channel else 1) / (kind.deviation * fan_in**0.5)
        weights = self._rng.integers(-kind.largest, kind.largest + 1, shape, np.int8)
        biases = self._rng.integers(-1000, 1001, channels, np.int32)
        return (
            self._constant(weights, kind.type, _record(scales, 0, axis if per_channel else 0)),
            self._constant(biases, schema.TensorType.INT32, _record(scales * x.quantization.scale[0], 0)),
        )

    def _constant(self, data: np.ndarray, kind: int, quantization: Any) -> Any:
        tensor = _tensor(data.shape, kind, quantization)
        self._data[tensor] = int4.packed(data) if kind == schema.TensorType.INT4 else data
        return tensor


def _layers(architecture: Architecture) -> Iterator[tuple[str, _Layer]]:
    table = architecture.backbone
    act = _ACTIVATIONS[table.family]
    build = _inverted_residual if table.family == "mobilenet_v2" else _separable_block
    widths = architecture.widths
    yield "stem", partial(_File.conv, channels=widths.stem, act=act, kernel=3, stride=2)
    for block in architecture.blocks:
        yield block.name, partial(build, block, act)
    if widths.last is not None:
        yield "last", partial(_File.conv, channels=widths.last, act=act)


def _inverted_residual(block: Block, act: int, file: _File, x: Any) -> Any:
    y = file.conv(x, block.hidden, act) if block.expansion > 1 else x
    y = file.conv(file.depthwise(y, act, block.stride), block.channels, _LINEAR)
    return file.add(x, y) if block.shortcut else y


def _separable_block(block: Block, act: int, file: _File, x: Any) -> Any:
    return file.conv(file.depthwise(x, act, block.stride), block.channels, act)


def _head_convolution(architecture: Architecture, number: int, file: _File, x: Any) -> Any:
    if architecture.head not in HEAD_STRIDES:
        return x
    act = schema.ActivationFunctionType.RELU6
    return file.conv(file.depthwise(x, act, HEAD_STRIDES[architecture.head]), architecture.head_channels[number], act)


def _classify(file: _File, x: Any) -> Any:
    return file.linear(file.pool(x), len(CLASSES))


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in tensor.shape[1:])


def _tensor(shape: Sequence[int], kind: int, quantization: Any) -> Any:
    # Arrays everywhere, not lists: `pack` stores equal arrays once.
    return schema.TensorT(shape=np.array(shape, np.int32), type=kind, quantization=quantization, hasRank=True)


def _record(scale: Any, zero_point: int, axis: int = 0) -> Any:
    scales = np.atleast_1d(np.asarray(scale, np.float32))
    points = np.full(len(scales), zero_point, np.int64)
    return schema.QuantizationParametersT(scale=scales, zeroPoint=points, quantizedDimension=axis)


def _of_range(low: float, high: float) -> Any:
    scale = (high - low) / 255
    return _record(scale, round(_LOWEST - low / scale))


def _indices(numbers: dict[Any, int], tensors: Sequence[Any]) -> np.ndarray:
    return np.array([numbers[tensor] for tensor in tensors], np.int32)


def _code(name: str) -> Any:
    number = getattr(schema.BuiltinOperator, name)
    return schema.OperatorCodeT(min(number, 127), None, _VERSIONS.get(name, 1), number)
