"""Small .tflite files, written through the schema and quantized by the quantizers that the project uses."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from earlyexit.tflite.compact import pack

SIGNATURE = "serving_default"
RELU6 = schema.ActivationFunctionType.RELU6


class Network:
    """A float .tflite file under construction. Methods add an operator and return the number of its output tensor."""

    def __init__(self, size: int, channels: int = 3, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.graph = schema.SubGraphT(tensors=[], inputs=[0], operators=[], name="main")
        self.model = schema.ModelT(
            version=3, description="tiny", operatorCodes=[], subgraphs=[self.graph], buffers=[schema.BufferT()]
        )
        self.input = self._tensor((1, size, size, channels))

    def conv(self, x: int, channels: int, kernel: int = 3, stride: int = 1) -> int:
        _, height, width, inputs = self.shape(x)
        options = schema.Conv2DOptionsT(strideH=stride, strideW=stride, fusedActivationFunction=RELU6)
        weights = self._weights((channels, kernel, kernel, inputs), kernel * kernel * inputs)
        shape = (1, -(-height // stride), -(-width // stride), channels)
        return self._operator("CONV_2D", [x, weights, self._weights((channels,), 100)], shape, options)

    def depthwise(self, x: int, kernel: int = 3, stride: int = 1) -> int:
        _, height, width, channels = self.shape(x)
        options = schema.DepthwiseConv2DOptionsT(
            strideH=stride, strideW=stride, depthMultiplier=1, fusedActivationFunction=RELU6
        )
        weights = self._weights((1, kernel, kernel, channels), kernel * kernel)
        shape = (1, -(-height // stride), -(-width // stride), channels)
        return self._operator("DEPTHWISE_CONV_2D", [x, weights, self._weights((channels,), 100)], shape, options)

    def add(self, a: int, b: int) -> int:
        return self._operator("ADD", [a, b], self.shape(a), schema.AddOptionsT())

    def mean(self, x: int) -> int:
        axes = self._constant(np.array([1, 2], np.int32), schema.TensorType.INT32)
        return self._operator("MEAN", [x, axes], (1, self.shape(x)[3]), schema.ReducerOptionsT())

    def dense(self, x: int, outputs: int) -> int:
        inputs = self.shape(x)[1]
        weights = [self._weights((outputs, inputs), inputs), self._weights((outputs,), 100)]
        return self._operator("FULLY_CONNECTED", [x, *weights], (1, outputs), schema.FullyConnectedOptionsT())

    def custom(self, x: int, name: str) -> int:
        return self._operator("CUSTOM", [x], self.shape(x), None, name)

    def shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(self.graph.tensors[tensor].shape)

    def finish(self, *outputs: int) -> bytes:
        self.graph.outputs = list(outputs)
        maps = [
            [schema.TensorMapT(f"{end}_{i}", tensor) for i, tensor in enumerate(tensors)]
            for end, tensors in (("args", [self.input]), ("output", outputs))
        ]
        self.model.signatureDefs = [schema.SignatureDefT(*maps, signatureKey=SIGNATURE, subgraphIndex=0)]
        self.model.buffers.append(schema.BufferT(np.frombuffer(b"1.5.0", np.uint8)))
        self.model.metadata = [schema.MetadataT("min_runtime_version", len(self.model.buffers) - 1)]
        return pack(self.model)

    def _operator(self, name: str, inputs: list[int], shape: tuple[int, ...], options: Any, custom: Any = None) -> int:
        code = getattr(schema.BuiltinOperator, name)
        self.model.operatorCodes.append(schema.OperatorCodeT(min(code, 127), custom, 1, code))
        output = self._tensor(shape)
        kind = 0 if options is None else getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        entry = schema.OperatorT(len(self.model.operatorCodes) - 1, inputs, [output], kind, options)
        self.graph.operators.append(entry)
        return output

    def _tensor(self, shape: Sequence[int], buffer: int = 0, kind: int = schema.TensorType.FLOAT32) -> int:
        number = len(self.graph.tensors)
        self.graph.tensors.append(
            schema.TensorT(list(shape), kind, buffer, f"a_rather_long_name_{number}", schema.QuantizationParametersT())
        )
        return number

    def _weights(self, shape: tuple[int, ...], fan_in: int) -> int:
        return self._constant(self.rng.normal(0, fan_in**-0.5, shape).astype(np.float32), schema.TensorType.FLOAT32)

    def _constant(self, values: np.ndarray, kind: int) -> int:
        self.model.buffers.append(schema.BufferT(np.frombuffer(values.tobytes(), np.uint8)))
        return self._tensor(values.shape, len(self.model.buffers) - 1, kind)


def segment(size: int = 12, channels: int = 8, expansion: int = 3, seed: int = 0) -> bytes:
    """A stem, a MobileNetV2 block with its shortcut, and an exit: float, outputs (logits, features)."""
    network = Network(size, seed=seed)
    x = network.conv(network.input, channels, stride=2)
    y = network.conv(x, channels * expansion, kernel=1)
    y = network.conv(network.depthwise(y), channels, kernel=1)
    features = network.add(x, y)
    return network.finish(network.dense(network.mean(features), 2), features)


def quantized(model: bytes, quantizer: str = "litert") -> bytes:
    """Return the float `model` with INT8 weights, activations, input and outputs, calibrated on noise."""
    shape = [int(n) for n in schema.Model.GetRootAs(model, 0).Subgraphs(0).Tensors(0).ShapeAsNumpy()]
    samples = np.random.default_rng(0).uniform(-1, 1, (4, *shape)).astype(np.float32)
    if quantizer == "litert":
        from ai_edge_quantizer import quantizer as ai_edge
        from ai_edge_quantizer import recipe

        tool = ai_edge.Quantizer(model, recipe.static_wi8_ai8())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a calibrator keeps all tensors, as it must
            ranges = tool.calibrate({SIGNATURE: [{"args_0": x} for x in samples]}, num_threads=1)
        return bytes(tool.quantize(ranges, enable_progress_report=False).quantized_model)

    import tensorflow as tf
    from tensorflow.lite.python.optimize.calibrator import Calibrator

    return bytes(Calibrator(model).calibrate_and_quantize(lambda: ([x] for x in samples), tf.int8, tf.int8, False))
