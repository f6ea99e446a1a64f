"""Where INT8 loses precision: the error of every layer of a quantized network against the float one."""

import copy
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tqdm import tqdm

from earlyexit.tflite import reader
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.reader import Operator, Tensor
from earlyexit.tflite.segment import Quantization

_INPUT = -1  # in place of an operator's number: the input of the segment


@dataclass(frozen=True)
class LayerError:
    """What INT8 does to the output of one operator, over all values of all images.

    SQNR (signal-to-quantization-noise ratio): mean square of the float values over mean square of the dequantized
    values' error, in dB; infinite where there is no error.

    Attributes:
        images: how many were run.
        segment: number of the segment, from 1.
        classifier: which the segment ends in: exit1, ..., final.
        index: number of the operator in its segment, from 0.
        operator: its name in TensorFlow Lite.
        head: it belongs to the head of an early exit: the next segment does not depend on it.
        shape: of the output, without the batch.
        scale, zero_point: of the output.
        sqnr: INT8 network against float network: what this layer and all before it do.
        sqnr_alone: this layer against its float self, fed the values that the INT8 one is fed: what this layer does.
        sqnr_rounding: the float values of `sqnr_alone` against themselves, rounded to this layer's steps and range:
            what its output's scale does. Well above `sqnr_alone`, the error comes from the weights.
        max_error: largest absolute error of the INT8 network against the float one, in this layer's steps.
        bias: mean error of the INT8 network against the float one, in this layer's steps.
        clipped: share of the float network's values that round to less than -128 or more than 127. What an
            activation cuts off is cut off in the float network too, and does not count.
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

    Each network runs as a whole: a segment takes the features that its own kind gave. INT8 runs on LiteRT's reference
    kernels, which answer as TensorFlow Lite Micro does. Layers are matched by their place in the graph;
    ai-edge-quantizer's `compare_model` needs names, which deployed files do not have.

    Args:
        float_models: float .tflite segments, in order.
        network: the same segments quantized.
        images: uint8 (N, H, W, 3); the activations of a segment are held for all of them, some 3 MB an image.

    Returns:
        an entry an operator, in order of execution.

    Raises:
        ValueError: no images, or not uint8 ones; the numbers of segments differ; a float and an INT8 segment are not
            the same graph (the first operator that differs is named); an activation is not INT8.
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

    Each has its place along the network, `layer` from 1; shapes are text ("48x48x12"); an infinite SQNR is None.
    """
    return [
        {"layer": layer, **{key: _plain(value) for key, value in asdict(error).items()}}
        for layer, error in enumerate(errors, start=1)
    ]


def worst(errors: Sequence[LayerError], count: int) -> list[LayerError]:
    """Return the `count` layers of the smallest `sqnr_alone`, the smallest first."""
    return sorted(errors, key=lambda error: error.sqnr_alone)[:count]


@dataclass(frozen=True)
class _Output:
    """An operator's output for all images, (N, ...).

    `real` is the float network's, `integer` the INT8 network's, `alone` the float operator's when it is fed what the
    INT8 one is fed.
    """

    real: np.ndarray
    integer: np.ndarray
    alone: np.ndarray


class _Pair:
    """A float segment, and the INT8 one made from it.

    Attributes:
        operators: of the INT8 segment.
        quantizations: of their outputs.
        features: number of the operator that gives the features; the logits where there are none.
        backbone: numbers of the operators that this output depends on.
    """

    def __init__(self, float_model: bytes, model: bytes, number: int) -> None:
        self.operators = reader.operators(model)
        self._sources = _same_sources(reader.operators(float_model), self.operators, number)
        self.quantizations = [
            _quantization(operator.outputs[0], f"segment {number}: the output of operator {index}, {operator.name},")
            for index, operator in enumerate(self.operators)
        ]
        (first,), last = reader.interface(model)
        self._input = _quantization(first, f"segment {number}: the input")
        made_by = {operator.outputs[0].index: index for index, operator in enumerate(self.operators)}
        self.features = made_by[max(last, key=lambda tensor: len(tensor.shape)).index]
        self.backbone = _ancestors(self.features, self._sources)
        self._apart = _Recorder(_apart(float_model), OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
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
            runs.append(zip(self._float([x[None]]), given, self._apart(fed), strict=True))
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


def _apart(model: bytes) -> bytes:
    """Cut the graph of a .tflite file apart: every operator takes its activations from graph inputs of their own.

    The inputs are those of all operators in order, so that one run gives each operator's answer alone.
    """
    if reader.outside_buffers(model):
        raise ValueError("a float segment with weights behind the flatbuffer; earlyexit.flatbuffer.compact moves them")
    content = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    graph = content.subgraphs[0]
    graph.inputs = []
    for entry, operator in zip(graph.operators, reader.operators(model), strict=True):
        activations = {tensor.index for tensor in _activations(operator)}
        entry.inputs = list(entry.inputs)
        for place, index in enumerate(entry.inputs):
            if index in activations:
                entry.inputs[place] = len(graph.tensors)
                graph.inputs.append(len(graph.tensors))
                graph.tensors.append(copy.copy(graph.tensors[index]))
    graph.outputs = [index for entry in graph.operators for index in entry.outputs]
    content.signatureDefs = None  # they name the inputs that were
    builder = flatbuffers.Builder(len(model))
    builder.Finish(content.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _activations(operator: Operator) -> list[Tensor]:
    return [tensor for tensor in operator.inputs if not tensor.data_bytes]


def _same_sources(before: Sequence[Operator], after: Sequence[Operator], number: int) -> list[tuple[int, ...]]:
    """Return where the activations of each operator come from, once sure that both graphs are the same."""
    for index, (expected, found) in enumerate(zip_longest(_described(before), _described(after), fillvalue="missing")):
        if expected != found:
            raise ValueError(f"segment {number}: operator {index} is {expected} in the float model, {found} in INT8")
    return _sources(after)


def _described(graph: Sequence[Operator]) -> list[str]:
    """Say of each operator what must be the same in two graphs: name, output's shape, where it takes it from."""
    return [
        f"{operator.name} to {_text(operator.outputs[0].shape)} from {', '.join(map(_place, sources))}"
        for operator, sources in zip(graph, _sources(graph), strict=True)
    ]


def _place(source: int) -> str:
    return "the input" if source == _INPUT else f"operator {source}"


def _sources(graph: Sequence[Operator]) -> list[tuple[int, ...]]:
    """Return for each operator the numbers of those that make its activations."""
    made_by = {operator.outputs[0].index: index for index, operator in enumerate(graph)}
    return [tuple(made_by.get(tensor.index, _INPUT) for tensor in _activations(operator)) for operator in graph]


def _ancestors(index: int, sources: Sequence[tuple[int, ...]]) -> set[int]:
    """Return `index` and the numbers of all operators that it depends on."""
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
    """Return the nearest integers for real values, even if INT8 does not have them."""
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
