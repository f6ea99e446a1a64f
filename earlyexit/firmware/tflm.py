"""The segments for those who stay with TensorFlow Lite Micro (TFLM): C arrays, and a table of what goes with each."""

from collections.abc import Sequence
from math import prod
from pathlib import Path

from earlyexit.firmware.source import check_defaults
from earlyexit.firmware.text import fill, float_literal, shape_text, text_literal
from earlyexit.tflite import arena, reader

EXAMPLE = Path(__file__).with_name("examples") / "example_main.cc"

_PER_LINE = 16  # bytes
_FUNCTIONS = {
    "ADD": "AddAdd",
    "CONV_2D": "AddConv2D",
    "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D",
    "FULLY_CONNECTED": "AddFullyConnected",
    "MEAN": "AddMean",
}


def generate(
    models: Sequence[bytes],
    names: Sequence[str],
    thresholds: Sequence[int],
    percentile: int | None,
    labels: Sequence[str],
) -> dict[str, str]:
    """Return C files by name: ee_tflm.h, ee_tflm.c and for each segment segmentN.c, N from 0.

    TFLM itself measures the arena of each segment, which takes a fraction of a second a segment.

    Args:
        models: content of each segment's INT8 .tflite file, in order.
        names: of the classifiers, one a segment.
        thresholds: default margin of each early exit, -1 to 255.
        percentile: that the thresholds come from, for the header; None where they come from elsewhere.
        labels: of the two classes.

    Raises:
        ValueError: TFLM cannot load a segment, or numbers of names, thresholds and labels that do not fit the segments.
    """
    check_defaults(models, names, thresholds, labels)
    arenas = [arena.measure(model).total for model in models]
    files = {
        "ee_tflm.h": _header(models, arenas, percentile),
        "ee_tflm.c": _table(models, names, thresholds, labels, arenas),
    }
    for number, (model, name) in enumerate(zip(models, names, strict=True)):
        files[f"segment{number}.c"] = _array(model, number, name)
    return files


def _header(models: Sequence[bytes], arenas: Sequence[int], percentile: int | None) -> str:
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
        features=max(_features(model)[1] for model in models),
        operators=len(operators),
        adds=" || \\\n".join(f"     (resolver).{_FUNCTIONS[name]}() != kTfLiteOk" for name in operators),
        source="" if percentile is None else f": percentile {percentile} of the calibration images",
    )


def _table(
    models: Sequence[bytes],
    names: Sequence[str],
    thresholds: Sequence[int],
    labels: Sequence[str],
    arenas: Sequence[int],
) -> str:
    rows = []
    for number, (model, name, limit) in enumerate(zip(models, names, [*thresholds, -1], strict=True)):
        logits = _logits(model)
        place, size = _features(model)
        values = f"{len(model)}, {arenas[number]}, {size}, {logits}, {place}, {limit}"
        rows.append(f"    {{ee_tflm_segment{number}, {values}}}, /* {name} */")
    arrays = [f"extern const uint8_t ee_tflm_segment{number}[{len(model)}];" for number, model in enumerate(models)]
    return fill(
        "ee_tflm.c",
        arrays="\n".join(arrays),
        rows="\n".join(rows),
        labels=", ".join(text_literal(label) for label in labels),
    )


def _array(model: bytes, number: int, name: str) -> str:
    rows = [
        "    " + ", ".join(f"0x{byte:02x}" for byte in model[start : start + _PER_LINE]) + ","
        for start in range(0, len(model), _PER_LINE)
    ]
    return fill("segment.c", number=number, name=name, bytes=len(model), layers=_layers(model), rows="\n".join(rows))


def _layers(model: bytes) -> str:
    lines = []
    for operator in reader.operators(model):
        inputs = " + ".join(shape_text(tensor.shape[1:]) for tensor in operator.inputs if not tensor.data_bytes)
        lines.append(f" *     {operator.name:17}  {inputs} -> {shape_text(operator.outputs[0].shape[1:])}")
    return "\n".join(lines)


def _logits(model: bytes) -> int:
    """Return which output holds the logits: the one of the smaller rank."""
    _, outputs = reader.interface(model)
    return min(range(len(outputs)), key=lambda place: len(outputs[place].shape))


def _features(model: bytes) -> tuple[int, int]:
    """Return which output holds the features, and their bytes; -1 and 0 for the last segment."""
    _, outputs = reader.interface(model)
    if len(outputs) == 1:
        return -1, 0
    place = 1 - _logits(model)
    return place, prod(outputs[place].shape)
