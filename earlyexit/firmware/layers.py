"""Read a quantized .tflite segment as layers with the integer parameters of their kernels."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from earlyexit.firmware import fixed_point
from earlyexit.tflite import int4, reader
from earlyexit.tflite.reader import Operator, Tensor

Shape = tuple[int, int, int]

_SMALLEST_SCALE = 2.0**-100  # far below any real one; 6 divided by it is finite in single precision
_LARGEST_SHIFT = 30  # to the left: more does not fit into 32 bits
_WEIGHT_BITS = {"int8": 8, "int4": 4}  # by type
_ACTIVATIONS = schema.ActivationFunctionType
_LIMITS = {  # real values to which the activation functions clip
    _ACTIVATIONS.NONE: (None, None),
    _ACTIVATIONS.RELU: (0.0, None),
    _ACTIVATIONS.RELU6: (0.0, 6.0),
    _ACTIVATIONS.RELU_N1_TO_1: (-1.0, 1.0),
}


@dataclass(frozen=True, eq=False)
class Layer:
    """What all layers have in common.

    Attributes:
        name: kind and number in the segment, from 0: "pointwise_3"; an identifier in C.
        operator: name in TensorFlow Lite: "CONV_2D".
        inputs: numbers of the activations that it reads.
        output: number of the activation that it writes.
        in_shape, out_shape: (H, W, C) of input and output; (1, 1, C) for vectors.
        scale, zero_point: of the output.
    """

    name: str
    operator: str
    inputs: tuple[int, ...]
    output: int
    in_shape: Shape
    out_shape: Shape
    scale: float
    zero_point: int


@dataclass(frozen=True, eq=False)
class Window(Layer):
    """A layer that weighs a window of its input: out = clip(requantized(bias + sum of weight * input) + zero_point).

    Attributes:
        weights: int8, (out, height, width, in); (height, width, channels) if depthwise.
        bits: that a weight takes in the file and on the device: 8 or 4.
        bias: int32, for each output channel. It contains the contribution of the input's zero point, so kernels
            multiply the input as it is and pad with `in_zero_point`.
        multipliers, shifts: int32, for each output channel, as in `fixed_point.requantize`.
        stride, padding: (vertical, horizontal) and (top, left).
        in_zero_point: of the input.
        low, high: range to which the activation function clips, in steps of the output.
    """

    weights: np.ndarray
    bits: int
    bias: np.ndarray
    multipliers: np.ndarray
    shifts: np.ndarray
    stride: tuple[int, int]
    padding: tuple[int, int]
    in_zero_point: int
    low: int
    high: int


class Conv(Window):
    """Convolution with any kernel."""


class Pointwise(Window):
    """1x1 convolution of stride 1."""


class Dense(Window):
    """Fully connected layer: a pointwise convolution of a single pixel."""


class Depthwise(Window):
    """Depthwise convolution with one output for each channel."""


@dataclass(frozen=True, eq=False)
class Add(Layer):
    """Sum of two activations of one shape: out = clip(requantized(a' + b') + zero_point).

    Each input is brought to a common scale first: a' = requantized((a + offset) << 20).

    Attributes:
        in_zero_points, in_multipliers, in_shifts: of each input.
        multiplier, shift: from the common scale to the output's.
        low, high: range to which the activation function clips, in steps of the output.
    """

    in_zero_points: tuple[int, int]
    in_multipliers: tuple[int, int]
    in_shifts: tuple[int, int]
    multiplier: int
    shift: int
    low: int
    high: int


@dataclass(frozen=True, eq=False)
class Mean(Layer):
    """Mean of each channel over the image.

    Attributes:
        in_zero_point: of the input.
        multiplier, shift: from a channel's sum to the output.
    """

    in_zero_point: int
    multiplier: int
    shift: int


@dataclass(frozen=True)
class LayerGraph:
    """A segment of a network.

    Attributes:
        layers: in the order in which they run.
        input, logits: numbers of these activations.
        features: number of what the next segment takes; None for the last segment.
        sizes: bytes of each activation, by number.
        shapes: (H, W, C) of each activation, by number.
        input_scale, input_zero_point: of the input.
    """

    layers: list[Layer]
    input: int
    logits: int
    features: int | None
    sizes: dict[int, int]
    shapes: dict[int, Shape]
    input_scale: float
    input_zero_point: int


def read(model: bytes, source: str) -> LayerGraph:
    """Return the .tflite file `model`, with INT8 activations, as a segment. `source` names the file in errors.

    Outputs are (logits,) or (logits, features), in any order; features have the greater rank.

    Raises:
        ValueError: `model` is no .tflite file, or the kernels do not support an operator, an option, a type or a
            quantization; names `source`, operator and tensor.
    """
    try:
        content = reader.unpack(model)
        operators = reader.operators(model)
        inputs, outputs = reader.interface(model)
        logits, features = reader.logits_and_features(outputs)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    if len(inputs) != 1:
        raise ValueError(f"{source}: {len(inputs)} inputs, expected 1")
    graph = content.subgraphs[0]
    layers = [
        _Reader(content, operator, entry, index, source).layer()
        for index, (operator, entry) in enumerate(zip(operators, graph.operators, strict=True))
    ]
    _check_order(layers, inputs[0].index, [tensor.index for tensor in outputs], source)
    start = inputs[0]
    scale, zero_point = _quantization(start, f"{source}: the input")
    shapes = {start.index: _shape(start, f"{source}: the input")} | {layer.output: layer.out_shape for layer in layers}
    return LayerGraph(
        layers=layers,
        input=start.index,
        logits=logits.index,
        features=None if features is None else features.index,
        sizes={index: math.prod(shape) for index, shape in shapes.items()},
        shapes=shapes,
        input_scale=scale,
        input_zero_point=zero_point,
    )


def _check_order(layers: list[Layer], first: int, outputs: list[int], source: str) -> None:
    """Verify that each activation is written once, before it is read."""
    written = {first}
    for layer in layers:
        if not written.issuperset(layer.inputs) or layer.output in written:
            raise ValueError(f"{source}: {layer.name} reads what no layer has written, or writes what one has")
        written.add(layer.output)
    if len(set(outputs)) != len(outputs) or not written.issuperset(outputs):
        raise ValueError(f"{source}: tensors {outputs} are the outputs, expected one each that a layer has written")


class _Reader:
    """A reader of one operator of a .tflite file."""

    def __init__(self, content: Any, operator: Operator, entry: Any, index: int, source: str) -> None:
        self._content = content
        self._operator = operator
        self._entry = entry
        self._index = index
        self._where = f"{source}: operator {index}, {operator.name}"

    def layer(self) -> Layer:
        """Return the operator as a layer."""
        kinds: dict[str, tuple[Callable[[], Layer], type]] = {
            "CONV_2D": (self._conv, schema.Conv2DOptionsT),
            "DEPTHWISE_CONV_2D": (self._depthwise, schema.DepthwiseConv2DOptionsT),
            "FULLY_CONNECTED": (self._dense, schema.FullyConnectedOptionsT),
            "ADD": (self._add, schema.AddOptionsT),
            "MEAN": (self._mean, schema.ReducerOptionsT),
            "SUM": (self._mean, schema.ReducerOptionsT),
        }
        if self._operator.name not in kinds:
            raise ValueError(f"{self._where}: unknown operator, expected one of {', '.join(kinds)}")
        read, options = kinds[self._operator.name]
        if not isinstance(self._entry.builtinOptions, options):
            raise ValueError(f"{self._where}: without its options")
        inputs, outputs = len(self._operator.inputs), len(self._operator.outputs)
        most = 2 if read in (self._add, self._mean) else 3
        if not 2 <= inputs <= most or outputs != 1:
            raise ValueError(f"{self._where}: {inputs} inputs and {outputs} outputs, expected 2 to {most} and 1")
        return read()

    def _conv(self) -> Layer:
        x, weights, options = self._operator.inputs[0], self._weights(0, rank=4), self._entry.builtinOptions
        in_shape, out_shape = self._activation(x), self._activation(self._operator.outputs[0])
        if weights.shape[3] != in_shape[2]:
            raise ValueError(f"{self._where}: {weights.shape[3]} input channels of {in_shape[2]}: groups are unknown")
        window = self._window(weights, in_shape, out_shape, options)
        plain = weights.shape[1:3] == (1, 1) and window["stride"] == (1, 1)
        kind, name = (Pointwise, "pointwise") if plain else (Conv, "conv")
        return kind(name=f"{name}_{self._index}", **window)

    def _depthwise(self) -> Layer:
        constants, options = self._weights(3, rank=4), self._entry.builtinOptions
        in_shape = self._activation(self._operator.inputs[0])
        out_shape = self._activation(self._operator.outputs[0])
        if options.depthMultiplier != 1 or constants.shape[::3] != (1, in_shape[2]):
            raise ValueError(f"{self._where}: depth multiplier {options.depthMultiplier}, expected 1")
        window = self._window(constants[0], in_shape, out_shape, options)
        return Depthwise(name=f"depthwise_{self._index}", **window)

    def _dense(self) -> Layer:
        x, output, options = self._operator.inputs[0], self._operator.outputs[0], self._entry.builtinOptions
        weights = self._weights(0, rank=2)
        if options.weightsFormat != schema.FullyConnectedOptionsWeightsFormat.DEFAULT:
            raise ValueError(f"{self._where}: weights format {options.weightsFormat}, expected 0")
        if math.prod(x.shape) != weights.shape[1] or math.prod(output.shape) != weights.shape[0]:
            raise ValueError(f"{self._where}: {x.shape} to {output.shape} with weights {weights.shape}: not one vector")
        common = self._common(x, (1, 1, weights.shape[1]), (1, 1, weights.shape[0]))
        products = self._products(weights[:, None, None], sums_over=(1, 2, 3))
        low, high = self._range(options.fusedActivationFunction)
        return Dense(
            name=f"dense_{self._index}", **common, **products, stride=(1, 1), padding=(0, 0), low=low, high=high
        )

    def _add(self) -> Layer:
        first, second = self._operator.inputs
        output = self._operator.outputs[0]
        shapes = [self._activation(tensor) for tensor in (first, second, output)]
        if len(set(shapes)) != 1:
            raise ValueError(f"{self._where}: shapes {shapes}: broadcasting is unknown")
        (scale_a, zero_a), (scale_b, zero_b) = map(self._quantization, (first, second))
        scale, _ = self._quantization(output)
        try:
            a, b, result = fixed_point.add_multipliers(scale_a, scale_b, scale)
        except ValueError as error:
            raise ValueError(f"{self._where}: {error}") from error
        low, high = self._range(self._entry.builtinOptions.fusedActivationFunction)
        common = self._common(first, shapes[0], shapes[2])
        common["inputs"] = (first.index, second.index)
        return Add(
            name=f"add_{self._index}",
            **common,
            in_zero_points=(zero_a, zero_b),
            in_multipliers=(a[0], b[0]),
            in_shifts=(a[1], b[1]),
            multiplier=result[0],
            shift=result[1],
            low=low,
            high=high,
        )

    def _mean(self) -> Layer:
        x, axes = self._operator.inputs
        output = self._operator.outputs[0]
        in_shape = self._activation(x)
        if axes.dtype != "int32" or axes.data_bytes not in (4, 8):
            raise ValueError(f"{self._where}: axes are {axes.dtype} of {axes.data_bytes} bytes, expected two of int32")
        dimensions = sorted(int(axis) % 4 for axis in np.frombuffer(self._data(axes), np.int32))
        if dimensions != [1, 2] or len(x.shape) != 4:
            raise ValueError(f"{self._where}: over axes {dimensions} of {x.shape}, expected height and width")
        (in_scale, in_zero_point), (scale, zero_point) = self._quantization(x), self._quantization(output)
        count = in_shape[0] * in_shape[1]
        if self._operator.name == "SUM" and (count, scale, zero_point) != (1, in_scale, in_zero_point):
            # The converter's mean of a single pixel; on other sums LiteRT and TFLM do not agree.
            raise ValueError(
                f"{self._where}: of {count} pixels, expected one, with the scale and zero point of the output"
            )
        multiplier, shift = fixed_point.mean_multiplier(in_scale / scale, count)
        self._check_shift(shift, "output")
        common = self._common(x, in_shape, (1, 1, in_shape[2]))
        return Mean(
            name=f"mean_{self._index}", **common, in_zero_point=in_zero_point, multiplier=multiplier, shift=shift
        )

    def _window(self, weights: np.ndarray, in_shape: Shape, out_shape: Shape, options: Any) -> dict[str, Any]:
        if (options.dilationHFactor, options.dilationWFactor) != (1, 1):
            raise ValueError(
                f"{self._where}: dilation {options.dilationHFactor}x{options.dilationWFactor}, expected 1x1"
            )
        depthwise = weights.ndim == 3
        kernel = weights.shape[:2] if depthwise else weights.shape[1:3]
        stride = (int(options.strideH), int(options.strideW))
        if min(stride) < 1:
            raise ValueError(f"{self._where}: stride {stride}")
        expected, padding = zip(
            *(
                _extent(size, window, step, same=options.padding == schema.Padding.SAME)
                for size, window, step in zip(in_shape, kernel, stride, strict=False)
            ),
            strict=True,
        )
        channels = weights.shape[2 if depthwise else 0]
        if out_shape != (*expected, channels):
            raise ValueError(f"{self._where}: output {out_shape}, expected {(*expected, channels)}")
        low, high = self._range(options.fusedActivationFunction)
        return {
            **self._common(self._operator.inputs[0], in_shape, out_shape),
            **self._products(weights, sums_over=(0, 1) if depthwise else (1, 2, 3)),
            "stride": stride,
            "padding": padding,
            "low": low,
            "high": high,
        }

    def _common(self, x: Tensor, in_shape: Shape, out_shape: Shape) -> dict[str, Any]:
        output = self._operator.outputs[0]
        scale, zero_point = self._quantization(output)
        return {
            "operator": self._operator.name,
            "inputs": (x.index,),
            "output": output.index,
            "in_shape": in_shape,
            "out_shape": out_shape,
            "scale": scale,
            "zero_point": zero_point,
        }

    def _products(self, weights: np.ndarray, sums_over: tuple[int, ...]) -> dict[str, Any]:
        """Return weights, bias, and the factors of the sums; `sums_over` are the axes of one sum."""
        tensor = self._operator.inputs[1]
        in_scale, in_zero_point = self._quantization(self._operator.inputs[0])
        out_scale, _ = self._quantization(self._operator.outputs[0])
        wide = weights.astype(np.int64)
        totals = wide.sum(sums_over)
        bias = self._bias(len(totals)) - in_zero_point * totals
        reach = 128 * np.abs(wide).sum(sums_over)
        if (bias - reach < -(2**31)).any() or (bias + reach >= 2**31).any():
            raise ValueError(f"{self._where}: tensor {tensor.index}: sums can be greater than 32 bits")
        scales = np.broadcast_to(self._record(tensor).scale, totals.shape).astype(np.float64)
        try:
            pairs = [fixed_point.quantize_multiplier(in_scale * float(scale) / out_scale) for scale in scales]
        except ValueError as error:
            raise ValueError(f"{self._where}: tensor {tensor.index}: {error}") from error
        multipliers, shifts = np.array(pairs, np.int32).T
        self._check_shift(int(shifts.max()), f"tensor {tensor.index}")
        return {
            "weights": weights,
            "bits": _WEIGHT_BITS[tensor.dtype],
            "bias": bias.astype(np.int32),
            "multipliers": multipliers,
            "shifts": shifts,
            "in_zero_point": in_zero_point,
        }

    def _check_shift(self, shift: int, what: str) -> None:
        if shift > _LARGEST_SHIFT:
            raise ValueError(f"{self._where}: {what}: a factor of 2^{shift} does not fit into 32 bits")

    def _weights(self, axis: int, rank: int) -> np.ndarray:
        """Return the weights, which must be constants without zero points, with 1 scale or 1 a channel, as int8.

        A fully connected layer (rank 2) of four bits is refused: TensorFlow Lite Micro runs none with a scale for each
        channel.
        """
        tensor = self._operator.inputs[1]
        where = f"{self._where}: tensor {tensor.index}, the weights,"
        known = ("int8",) if rank == 2 else tuple(_WEIGHT_BITS)
        if tensor.dtype not in known or not tensor.data_bytes:
            expected = f"{' or '.join(known)} constants"
            raise ValueError(f"{where} is {tensor.dtype} of {tensor.data_bytes} bytes, expected {expected}")
        count = math.prod(tensor.shape)
        if len(tensor.shape) != rank or -(-count * _WEIGHT_BITS[tensor.dtype] // 8) != tensor.data_bytes:
            raise ValueError(f"{where} has shape {tensor.shape} and {tensor.data_bytes} bytes")
        record = self._record(tensor)
        if len(record.scale) not in (1, tensor.shape[axis]) or np.any(record.zeroPoint):
            raise ValueError(
                f"{where} has {len(record.scale)} scales and zero points up to {np.abs(record.zeroPoint).max()}, "
                f"expected 1 or {tensor.shape[axis]} scales and no zero points"
            )
        if len(record.scale) > 1 and record.quantizedDimension != axis:
            raise ValueError(f"{where} is quantized along axis {record.quantizedDimension}, expected {axis}")
        data = self._data(tensor)
        if tensor.dtype == "int4":
            return int4.unpacked(np.frombuffer(data, np.uint8), count).reshape(tensor.shape)
        return np.frombuffer(data, np.int8).reshape(tensor.shape)

    def _bias(self, channels: int) -> np.ndarray:
        if len(self._operator.inputs) < 3:
            return np.zeros(channels, np.int64)
        tensor = self._operator.inputs[2]
        if tensor.dtype != "int32" or tensor.data_bytes != 4 * channels:
            raise ValueError(
                f"{self._where}: tensor {tensor.index}, the bias, is {tensor.dtype} of {tensor.data_bytes} bytes, "
                f"expected {channels} int32 constants"
            )
        return np.frombuffer(self._data(tensor), np.int32).astype(np.int64)

    def _data(self, tensor: Tensor) -> bytes:
        buffer = self._content.buffers[self._content.subgraphs[0].tensors[tensor.index].buffer]
        return b"" if buffer.data is None else bytes(buffer.data)

    def _record(self, tensor: Tensor) -> Any:
        record = self._content.subgraphs[0].tensors[tensor.index].quantization
        if record is None or record.scale is None or not len(record.scale):
            raise ValueError(f"{self._where}: tensor {tensor.index} is not quantized")
        return record

    def _activation(self, tensor: Tensor) -> Shape:
        self._quantization(tensor)
        return _shape(tensor, self._where)

    def _quantization(self, tensor: Tensor) -> tuple[float, int]:
        return _quantization(tensor, self._where)

    def _range(self, function: int) -> tuple[int, int]:
        """Return the range to which an activation function clips, in steps of the output."""
        if function not in _LIMITS:
            raise ValueError(f"{self._where}: unknown activation function {function}")
        scale, zero_point = self._quantization(self._operator.outputs[0])
        low, high = (None if limit is None else zero_point + _steps(limit, scale) for limit in _LIMITS[function])
        return -128 if low is None else max(-128, low), 127 if high is None else min(127, high)


def _shape(tensor: Tensor, where: str) -> Shape:
    if len(tensor.shape) not in (2, 4) or tensor.shape[0] != 1 or min(tensor.shape) < 1:
        raise ValueError(f"{where}: tensor {tensor.index} is of shape {tensor.shape}, expected (1, C) or (1, H, W, C)")
    height, width = tensor.shape[1:3] if len(tensor.shape) == 4 else (1, 1)
    return height, width, tensor.shape[-1]


def _quantization(tensor: Tensor, where: str) -> tuple[float, int]:
    if tensor.dtype != "int8" or tensor.scale is None or tensor.zero_point is None or tensor.data_bytes:
        kind = "constant" if tensor.data_bytes else "not quantized as a whole" if tensor.scale is None else "quantized"
        raise ValueError(f"{where}: tensor {tensor.index} is {tensor.dtype}, {kind}, expected an int8 activation")
    if not (_SMALLEST_SCALE <= tensor.scale < math.inf and -128 <= tensor.zero_point <= 127):
        raise ValueError(f"{where}: tensor {tensor.index} has scale {tensor.scale} and zero point {tensor.zero_point}")
    return tensor.scale, tensor.zero_point


def _steps(value: float, scale: float) -> int:
    """Return a real value in steps of `scale`, divided in single precision and rounded half away from zero."""
    steps = float(np.float32(value) / np.float32(scale))
    return int(math.copysign(math.floor(abs(steps) + 0.5), steps))


def _extent(size: int, window: int, step: int, *, same: bool) -> tuple[int, int]:
    """Return the number of output values along one axis, and the padding before the first input value."""
    if not same:
        return (size - window) // step + 1, 0
    count = -(-size // step)
    return count, max((count - 1) * step + window - size, 0) // 2
