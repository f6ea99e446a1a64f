"""Measure the error of every layer of an INT8 network against the float network."""

import copy
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tqdm import tqdm

from earlyexit.tflite import reader
from earlyexit.tflite.compact import pack
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.reader import Operator, Tensor
from earlyexit.tflite.segment import Quantization

_INPUT = -1  # stands for the segment's input where an operator's number is expected


@dataclass(frozen=True)
class LayerError:
    """The error of the output of one operator in INT8, over all values of all images.

    SQNR (signal-to-quantization-noise ratio): mean square of the float values divided by the mean square of the
    dequantized values' error, in dB; infinite without error.

    Attributes:
        images: number of images.
        segment: number of the segment, from 1.
        classifier: at the end of the segment: exit1, ..., final.
        index: number of the operator in its segment, from 0.
        operator: its name in TensorFlow Lite.
        head: the operator belongs to the head of an early exit; the next segment does not depend on it.
        shape: of the output, without the batch.
        scale, zero_point: of the output.
        sqnr: of the INT8 network against the float network: the error of this layer and of all layers before it.
        sqnr_alone: of this layer against the float layer with the same input: the error of this layer alone.
        sqnr_rounding: of the float values of `sqnr_alone`, rounded to the steps and the range of this layer's output:
            the error of the output's scale alone. If it is much larger than `sqnr_alone`, the weights cause the error.
        max_error: largest absolute error of the INT8 network against the float network, in steps of this layer.
        bias: mean error of the INT8 network against the float network, in steps of this layer.
        clipped: share of the float network's values that round to less than -128 or more than 127. Values that an
            activation function cuts off do not count: it cuts them off in the float network too.
    """

    images: int
    segment: int
    classifier: str
    index: int
    operator: str
    head: bool
    shape: tuple[int, ...]
    scale: float
    zero_point: int
    sqnr: float
    sqnr_alone: float
    sqnr_rounding: float
    max_error: float
    bias: float
    clipped: float


def layer_errors(float_models: Sequence[bytes], network: Deployment, images: np.ndarray) -> list[LayerError]:
    """Compare every layer of the INT8 segments with the same layer of the float ones.

    Each network runs as a whole: INT8 segments take INT8 features, float segments float features. INT8 runs on LiteRT's
    reference kernels, which agree with TensorFlow Lite Micro. Layers are matched by their place in the graph, since
    deployed files have no names, which ai-edge-quantizer's `compare_model` needs.

    Args:
        float_models: float .tflite segments, in order.
        network: the same segments, quantized.
        images: uint8 (N, H, W, 3). All activations of a segment are in memory at once, about 3 MB per image.

    Returns:
        an entry for each operator, in order of execution.

    Raises:
        ValueError: no images, or not uint8; the numbers of segments differ; a float and an INT8 segment are not the
            same graph (names the first operator that differs); an activation is not INT8.
    """
    if images.dtype != np.uint8 or not len(images):
        raise ValueError(f"{len(images)} images of {images.dtype}, expected one or more of uint8")
    if len(float_models) != len(network.models):
        raise ValueError(f"{len(float_models)} float segments, but {len(network.models)} quantized ones")
    real = network.pixels.images(images)
    integer = network.quantize(images)
    found = []
    for number, models in enumerate(zip(float_models, network.models, strict=True), start=1):
        pair = _Pair(*models, number)
        outputs = pair.run(real, integer)
        found += [
            LayerError(
                images=len(images),
                segment=number,
                classifier=network.names[number - 1],
                index=index,
                operator=operator.name,
                head=index not in pair.backbone,
                shape=operator.outputs[0].shape[1:],
                scale=pair.quantizations[index].scale,
                zero_point=pair.quantizations[index].zero_point,
                **_figures(outputs[index], pair.quantizations[index]),
            )
            for index, operator in enumerate(pair.operators)
        ]
        real, integer = outputs[pair.features].real, outputs[pair.features].integer
    return found


def table(errors: Sequence[LayerError]) -> list[dict[str, Any]]:
    """Return the errors as rows for JSON or CSV.

    `layer` numbers the layers of the whole network from 1. Shapes are text ("48x48x12"); an infinite SQNR is None.
    """
    return [
        {"layer": layer, **{key: _plain(value) for key, value in asdict(error).items()}}
        for layer, error in enumerate(errors, start=1)
    ]


def worst(errors: Sequence[LayerError], count: int) -> list[LayerError]:
    """Return the `count` layers with the smallest `sqnr_alone`, the smallest first."""
    return sorted(errors, key=lambda error: error.sqnr_alone)[:count]


@dataclass(frozen=True)
class _Output:
    """An operator's output for all images, (N, ...).

    Attributes:
        real: in the float network.
        integer: in the INT8 network.
        alone: of the float operator for the dequantized input of the INT8 operator.
    """

    real: np.ndarray
    integer: np.ndarray
    alone: np.ndarray


class _Pair:
    """A float segment and its INT8 segment.

    Attributes:
        operators: of the INT8 segment.
        quantizations: of their outputs.
        features: number of the operator whose output is the features; in the last segment, the logits.
        backbone: numbers of the operators that this output depends on.
    """

    def __init__(self, float_model: bytes, model: bytes, number: int) -> None:
        self.operators = reader.operators(model)
        self._sources = _same_sources(reader.operators(float_model), self.operators, number)
        self.quantizations = [
            _quantization(operator.outputs[0], f"segment {number}: the output of operator {index}, {operator.name},")
            for index, operator in enumerate(self.operators)
        ]
        (first,), outputs = reader.interface(model)
        logits, features = reader.logits_and_features(outputs)
        self._input = _quantization(first, f"segment {number}: the input")
        made_by = {operator.outputs[0].index: index for index, operator in enumerate(self.operators)}
        self.features = made_by[(features or logits).index]
        self.backbone = _ancestors(self.features, self._sources)
        self._separate = _Recorder(_separate(float_model), OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
        self._float = _Recorder(float_model, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
        self._int8 = _Recorder(model, OpResolverType.BUILTIN_REF)
        self._title = f"layers of segment {number}"

    def run(self, real: np.ndarray, integer: np.ndarray) -> list[_Output]:
        """Run float inputs and INT8 inputs, (N, H, W, C), and return every operator's outputs."""
        runs = []
        for x, q in zip(tqdm(real, desc=self._title, unit="image", mininterval=1), integer, strict=True):
            given = self._int8([q[None]])
            values = {_INPUT: _dequantize(q[None], self._input)}
            values |= {i: _dequantize(output, self.quantizations[i]) for i, output in enumerate(given)}
            fed = [values[source] for sources in self._sources for source in sources]
            runs.append(zip(self._float([x[None]]), given, self._separate(fed), strict=True))
        return [_Output(*map(np.concatenate, zip(*outputs, strict=True))) for outputs in zip(*runs, strict=True)]


class _Recorder:
    """Runs a .tflite file, and returns the output of each of its operators."""

    def __init__(self, model: bytes, kernels: OpResolverType) -> None:
        self._interpreter = Interpreter(
            model_content=model,
            num_threads=1,
            experimental_op_resolver_type=kernels,
            experimental_preserve_all_tensors=True,
        )
        self._interpreter.allocate_tensors()
        self._inputs = [detail["index"] for detail in self._interpreter.get_input_details()]
        self._outputs = [operator.outputs[0].index for operator in reader.operators(model)]

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        for index, x in zip(self._inputs, inputs, strict=True):
            self._interpreter.set_tensor(index, x)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


def _separate(model: bytes) -> bytes:
    """Return the .tflite file `model` with its operators disconnected: each takes its activations from graph inputs.

    The graph inputs are the activations of all operators, in order, so one run gives the answer of each operator alone.
    """
    content = reader.unpack(model)
    graph = content.subgraphs[0]
    graph.inputs = []
    for entry, operator in zip(graph.operators, reader.operators(model), strict=True):
        activations = {tensor.index for tensor in operator.activations}
        entry.inputs = list(entry.inputs)
        for place, index in enumerate(entry.inputs):
            if index in activations:
                entry.inputs[place] = len(graph.tensors)
                graph.inputs.append(len(graph.tensors))
                graph.tensors.append(copy.copy(graph.tensors[index]))
    graph.outputs = [index for entry in graph.operators for index in entry.outputs]
    content.signatureDefs = None  # they name the former inputs
    return pack(content)


def _same_sources(before: Sequence[Operator], after: Sequence[Operator], number: int) -> list[tuple[int, ...]]:
    """Return the sources of each operator's activations; raise ValueError if the graphs differ."""
    for index, (expected, found) in enumerate(zip_longest(_described(before), _described(after), fillvalue="missing")):
        if expected != found:
            raise ValueError(f"segment {number}: operator {index} is {expected} in the float model, {found} in INT8")
    return _sources(after)


def _described(graph: Sequence[Operator]) -> list[str]:
    """Describe each operator by what must agree in two graphs: name, shape of the output, sources of the inputs."""
    return [
        f"{operator.name} to {_text(operator.outputs[0].shape)} from {', '.join(map(_place, sources))}"
        for operator, sources in zip(graph, _sources(graph), strict=True)
    ]


def _place(source: int) -> str:
    return "the input" if source == _INPUT else f"operator {source}"


def _sources(graph: Sequence[Operator]) -> list[tuple[int, ...]]:
    """Return for each operator the numbers of the operators whose outputs it takes."""
    made_by = {operator.outputs[0].index: index for index, operator in enumerate(graph)}
    return [tuple(made_by.get(tensor.index, _INPUT) for tensor in operator.activations) for operator in graph]


def _ancestors(index: int, sources: Sequence[tuple[int, ...]]) -> set[int]:
    """Return the numbers of all operators that operator `index` depends on, and `index`."""
    found = {index}
    for earlier in range(index, -1, -1):
        if earlier in found:
            found.update(sources[earlier])
    return found


def _quantization(tensor: Tensor, what: str) -> Quantization:
    if tensor.dtype != "int8" or tensor.scale is None or tensor.zero_point is None:
        raise ValueError(f"{what} is {tensor.dtype}, expected int8 with one scale")
    return Quantization(tensor.scale, tensor.zero_point)


def _dequantize(levels: np.ndarray, quantization: Quantization) -> np.ndarray:
    return (levels.astype(np.float32) - np.float32(quantization.zero_point)) * np.float32(quantization.scale)


def _levels(values: np.ndarray, quantization: Quantization) -> np.ndarray:
    """Return the nearest integers for real values, also beyond the range of INT8."""
    found: np.ndarray = np.rint(values / np.float32(quantization.scale)) + np.float32(quantization.zero_point)
    return found


def _figures(output: _Output, quantization: Quantization) -> dict[str, float]:
    """Return the figures of LayerError."""
    given = _dequantize(output.integer, quantization)
    error = given - output.real
    levels = _levels(output.real, quantization)
    nearest = np.clip(_levels(output.alone, quantization), -128, 127)
    return {
        "sqnr": _sqnr(output.real, error),
        "sqnr_alone": _sqnr(output.alone, given - output.alone),
        "sqnr_rounding": _sqnr(output.alone, _dequantize(nearest, quantization) - output.alone),
        "max_error": float(np.abs(error).max()) / quantization.scale,
        "bias": float(np.mean(error, dtype=np.float64)) / quantization.scale,
        "clipped": float(np.mean((levels < -128) | (levels > 127))),
    }


def _sqnr(signal: np.ndarray, error: np.ndarray) -> float:
    power, noise = (float(np.mean(np.square(x), dtype=np.float64)) for x in (signal, error))
    if noise == 0:
        return math.inf
    return 10 * math.log10(power / noise) if power else -math.inf


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return _text(value)
    return None if isinstance(value, float) and math.isinf(value) else value


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
