"""Generate C arrays of the segments for TensorFlow Lite Micro (TFLM), and a table of their properties."""

from collections.abc import Sequence
from math import prod
from pathlib import Path

from earlyexit.firmware.source import check_policy
from earlyexit.firmware.text import fill, float_literal, policy_comment, rows, shape_text, text_literal
from earlyexit.policy.policies import Policy
from earlyexit.task import CLASSES
from earlyexit.tflite import arena, reader
from earlyexit.tflite.deployment import Deployment

EXAMPLE = Path(__file__).with_name("examples") / "example_main.cc"

_FUNCTIONS = {
    "ADD": "AddAdd",
    "CONV_2D": "AddConv2D",
    "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D",
    "FULLY_CONNECTED": "AddFullyConnected",
    "MEAN": "AddMean",
}


def generate(network: Deployment, policy: Policy) -> dict[str, str]:
    """Return C files by name: ee_tflm.h, ee_tflm.c, and segmentN.c for each segment, N from 0.

    TFLM itself measures the arena of each segment, which takes a fraction of a second a segment.

    Args:
        network: INT8 segments.
        policy: of the table and the macro EE_TFLM_PATIENCE; its name, promise and note stand in the header.

    Raises:
        ValueError: TFLM cannot load a segment, or the policy does not fit the network (see `source.check_policy`).
    """
    check_policy(network, policy)
    arenas = [arena.measure(model).total for model in network.models]
    files = {
        "ee_tflm.h": _header(network.models, arenas, policy),
        "ee_tflm.c": _table(network, policy.thresholds, arenas),
    }
    for number, (model, name) in enumerate(zip(network.models, network.names, strict=True)):
        files[f"segment{number}.c"] = _segment(model, number, name)
    return files


def _header(models: Sequence[bytes], arenas: Sequence[int], policy: Policy) -> str:
    operators = sorted({operator.name for model in models for operator in reader.operators(model)})
    if unknown := set(operators) - _FUNCTIONS.keys():
        raise ValueError(f"no function of TFLM's resolver is known for {sorted(unknown)[0]}")
    image = reader.interface(models[0])[0][0]
    assert image.scale is not None
    return fill(
        "ee_tflm.h",
        image=prod(image.shape),
        scale=float_literal(image.scale),
        zero_point=image.zero_point,
        segments=len(models),
        exits=len(models) - 1,
        arena=max(arenas),
        features=max(_places(model)[2] for model in models),
        operators=len(operators),
        adds=" || \\\n".join(f"     (resolver).{_FUNCTIONS[name]}() != kTfLiteOk" for name in operators),
        policy=policy_comment(policy),
        patience=policy.patience,
    )


def _table(network: Deployment, thresholds: Sequence[int], arenas: Sequence[int]) -> str:
    arrays, lines = [], []
    for number, model in enumerate(network.models):
        logits, place, size = _places(model)
        values = f"{len(model)}, {arenas[number]}, {size}, {logits}, {place}, {[*thresholds, -1][number]}"
        lines.append(f"    {{ee_tflm_segment{number}, {values}}}, /* {network.names[number]} */")
        arrays.append(f"extern const uint8_t ee_tflm_segment{number}[{len(model)}];")
    labels = ", ".join(text_literal(label) for label in CLASSES)
    return fill("ee_tflm.c", arrays="\n".join(arrays), rows="\n".join(lines), labels=labels)


def _segment(model: bytes, number: int, name: str) -> str:
    table = rows([f"0x{byte:02x}" for byte in model], indent=4)
    return fill("segment.c", number=number, name=name, bytes=len(model), layers=_layers(model), rows=table)


def _layers(model: bytes) -> str:
    lines = []
    for operator in reader.operators(model):
        inputs = " + ".join(shape_text(tensor.shape[1:]) for tensor in operator.activations)
        lines.append(f" *     {operator.name:17}  {inputs} -> {shape_text(operator.outputs[0].shape[1:])}")
    return "\n".join(lines)


def _places(model: bytes) -> tuple[int, int, int]:
    """Return the output numbers of logits and features, and the bytes of the features; -1 and 0 for no features."""
    _, outputs = reader.interface(model)
    logits, features = reader.logits_and_features(outputs)
    if features is None:
        return outputs.index(logits), -1, 0
    return outputs.index(logits), outputs.index(features), prod(features.shape)
