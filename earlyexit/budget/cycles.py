"""Estimate the cycles that a layer takes on a Cortex-M4 in the project's C library, from its shapes alone.

The cycles of a layer are a weighted sum of a few counts, such as its multiply-accumulates and its outputs. The weights
are fitted by `python -m benchmarks.estimate` to the cycles that the emulated Cortex-M4 counts. They hold for the
library's kernels as they are: after a change of a kernel, fit again.
"""

from collections.abc import Callable, Sequence
from math import prod

from earlyexit.tflite.reader import Operator

LARGE_MEAN = 256
"""Pixels from which on the library's kernel adds up values one by one instead of four at a time."""


def terms(operator: Operator) -> tuple[str, list[float]]:
    """Return the kind of a layer, and the counts that its cycles depend on.

    Raises:
        ValueError: the project's networks have no such layer.
    """
    given, made = operator.inputs[0].shape[1:], operator.outputs[0].shape[1:]
    if operator.name not in _TERMS:
        raise ValueError(f"no estimate for the cycles of a layer {operator.name}")
    kind, counts = _TERMS[operator.name](operator, given, made)
    if any(tensor.dtype == "int4" for tensor in operator.inputs):
        kind = f"{kind}, four bits"
    return kind, [float(count) for count in counts]


def estimate(operators: Sequence[Operator]) -> float:
    """Return the cycles of layers that run one after the other; raises as `terms`."""
    return sum(_cycles(*terms(operator)) for operator in operators)


def _cycles(kind: str, counts: list[float]) -> float:
    return sum(weight * count for weight, count in zip(WEIGHTS[kind], counts, strict=True))


_Shape = tuple[int, ...]
_Counts = tuple[str, Sequence[float]]


def _convolution(operator: Operator, given: _Shape, made: _Shape) -> _Counts:
    kernel = operator.inputs[1].shape[1:]
    pixels, outputs, depth = made[0] * made[1], made[2], prod(kernel)
    if prod(kernel[:2]) > 1:
        return "conv", [pixels * depth * outputs, pixels * depth]
    # The kernel takes four pixels at a time, and channels in fours.
    fours, rest = divmod(pixels, 4)
    depth = -(-depth // 4) * 4
    whole, single = 4 * fours, rest
    return "pointwise", [
        whole * depth * outputs,
        whole * outputs,
        whole * depth,
        single * depth * outputs,
        single * outputs,
    ]


def _depthwise(operator: Operator, given: _Shape, made: _Shape) -> _Counts:
    stride = 1 if given[:2] == made[:2] else 2
    return f"depthwise, stride {stride}", [prod(made), made[0] * made[2], made[2]]


def _mean(operator: Operator, given: _Shape, made: _Shape) -> _Counts:
    size = "large mean" if prod(given[:2]) >= LARGE_MEAN else "mean"
    return size, [prod(given), given[2]]


def _dense(operator: Operator, given: _Shape, made: _Shape) -> _Counts:
    return "dense", [prod(given) * prod(made), prod(made)]


def _add(operator: Operator, given: _Shape, made: _Shape) -> _Counts:
    return "add", [prod(made)]


_TERMS: dict[str, Callable[[Operator, _Shape, _Shape], _Counts]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "MEAN": _mean,
    "SUM": _mean,
    "FULLY_CONNECTED": _dense,
    "ADD": _add,
}

WEIGHTS = {
    "conv": [1.343, 5.778],
    "depthwise, stride 2": [41.4, -63.64, 434.9],
    "pointwise": [1.058, 7.152, 3.26, 2.568, 13.3],
    "depthwise, stride 1": [24.38, -72.23, 541.1],
    "large mean": [6.75, 49.66],
    "dense": [4.032, 200.0],
    "mean": [2.255, 43.71],
    "add": [8.299],
    "conv, four bits": [1.44, 5.778],
    "depthwise, stride 2, four bits": [42.36, -73.98, 552.6],
    "pointwise, four bits": [1.129, 7.295, 3.828, 2.695, 16.67],
    "depthwise, stride 1, four bits": [24.57, -75.38, 643.9],
}
"""Cycles for each of the counts of `terms`, by kind of layer, and bits of its weights if there are four."""
