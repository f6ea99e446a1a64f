"""Tiny classifiers as .onnx and .tflite files, with known weights."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.tiny_tflite import Network, quantized

HEIGHT, WIDTH = 20, 24


def weights(classes: int) -> np.ndarray:
    """Of the linear layer on the mean of each colour, (3, classes)."""
    return np.random.default_rng(classes).normal(0, 2, (3, classes)).astype(np.float32)


def onnx_model(
    classes: int = 2,
    *,
    softmax: bool = False,
    sigmoid: bool = False,
    channels_first: bool = True,
    batch: int | str = "N",
    size: Sequence[int | str] = (HEIGHT, WIDTH),
    channels: int = 3,
    kind: int = TensorProto.FLOAT,
    scale: float = 1.0,
    outputs: int = 1,
    ratio: bool = False,
    bias: bool = False,
) -> onnx.ModelProto:
    """Mean colour times `weights`, times `scale`, as logits or probabilities; bytes are divided by 255 first.

    With `ratio` the colours are divided by their sum, which black images do not have; with `bias` a black image gets
    logits that are all alike and have the sum 1.
    """
    shape = [batch, channels, *size] if channels_first else [batch, *size, channels]
    axes = [2, 3] if channels_first else [1, 2]
    nodes = [helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT)]
    nodes += [
        helper.make_node("Div", ["real", "divisor"], ["x"]),
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        helper.make_node("ReduceSum", ["mean", "colours"], ["sum"], keepdims=1),
        helper.make_node("Div", ["mean", "sum" if ratio else "one"], ["colour"]),
        helper.make_node("MatMul", ["colour", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["z"]),
    ]
    nodes.append(helper.make_node("Softmax" if softmax else "Sigmoid" if sigmoid else "Identity", ["z"], ["answer"]))
    nodes += [helper.make_node("Identity", ["z"], [f"extra{number}"]) for number in range(1, outputs)]
    divisor = 1.0 if kind == TensorProto.FLOAT else 255.0
    constants: dict[str, Any] = {
        "axes": np.array(axes, np.int64),
        "divisor": np.array(divisor, np.float32),
        "colours": np.array([1], np.int64),
        "one": np.array(1, np.float32),
        "bias": np.full(classes, 1 / classes if bias else 0, np.float32),
        "weights": scale * (weights(classes) if channels == 3 else np.ones((channels, classes), np.float32)),
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", kind, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, classes])
            for name in ["answer", *(f"extra{number}" for number in range(1, outputs))]
        ],
        [numpy_helper.from_array(np.asarray(value, value.dtype), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def onnx_bytes(classes: int = 2, **options: Any) -> bytes:
    return bytes(onnx_model(classes, **options).SerializeToString())


def tflite_network(classes: int = 2, size: int = HEIGHT, channels: int = 3) -> tuple[Network, int]:
    """A convolution, its mean and a dense layer; and the number of the last tensor."""
    network = Network(size, channels)
    return network, network.dense(network.mean(network.conv(network.input, 8, stride=2)), classes)


@cache
def tflite_bytes(classes: int = 2) -> bytes:
    network, answer = tflite_network(classes)
    return network.finish(answer)


@cache
def int8_bytes(classes: int = 2) -> bytes:
    return quantized(tflite_bytes(classes))
