"""Generate the C library of a network: a header, the network's constants and calls, and the kernels.

All segments share one arena and one plan: the features that a segment leaves for the next stay where they were written.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from pathlib import Path

import numpy as np

from earlyexit.firmware import emit, layers
from earlyexit.firmware.layers import Layer, LayerGraph
from earlyexit.firmware.plan import Buffer, Overlap, Plan, plan
from earlyexit.firmware.text import count, fill, float_literal, policy_comment, rows, shape_text, text_literal
from earlyexit.policy.policies import Policy
from earlyexit.task import CLASSES
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.segment import Quantization

VERSION = "2"  # of the C interface
NETWORK, KERNELS = "ee_network.c", "ee_kernels.c"
LIBRARY = ("ee.h", NETWORK, "ee_kernels.h", KERNELS)
"""Names of the library's files."""

_KERNELS = Path(__file__).with_name("kernels")
_LOGITS = "logits"  # a buffer of the caller's, outside the arena


@dataclass(frozen=True)
class Step:
    """A layer of the network with its buffers.

    Attributes:
        segment: number of its segment, from 0.
        layer: the layer itself.
        inputs, output, scratch: names of buffers; "logits" lies outside the arena; scratch is None if none is needed.
    """

    segment: int
    layer: Layer
    inputs: tuple[str, ...]
    output: str
    scratch: str | None

    @property
    def name(self) -> str:
        """The identifier of the layer in C."""
        return f"segment{self.segment}_{self.layer.name}"


@dataclass(frozen=True)
class Layout:
    """The arena of a network and the layers that work in it.

    Attributes:
        segments: of the network, in order.
        steps: the layers of all segments, in order.
        buffers, plan: of the arena.
        inputs: name of the buffer that holds each segment's input; the first holds the image.
    """

    segments: list[LayerGraph]
    steps: list[Step]
    buffers: list[Buffer]
    plan: Plan
    inputs: list[str]


def read(models: Sequence[bytes]) -> list[LayerGraph]:
    """Return the segments in the .tflite files `models`; the features of each are the input of the next.

    Raises:
        ValueError: as `layers.read`; or a segment has not two logits, or its features are not the next one's input.
    """
    names = [f"segment{number}.tflite" for number in range(1, len(models) + 1)]
    segments = list(map(layers.read, models, names))
    for number, (segment, source) in enumerate(zip(segments, names, strict=True), start=1):
        if segment.sizes[segment.logits] != 2:
            raise ValueError(f"{source}: {segment.sizes[segment.logits]} logits, expected 2")
        if (segment.features is None) != (number == len(segments)):
            raise ValueError(f"{source}: all segments but the last must have features, the last must have none")
    for (one, first), (other, second) in pairwise(zip(segments, names, strict=True)):
        _check_handover(one, other, (first, second))
    return segments


def lay_out(segments: Sequence[LayerGraph]) -> Layout:
    """Return one arena for all segments."""
    steps: list[Step] = []
    inputs = ["image"]
    buffers = {"image": Buffer("image", segments[0].sizes[segments[0].input], 0, 0)}
    overlaps: list[Overlap] = []
    for number, segment in enumerate(segments):
        names = {segment.input: inputs[-1], segment.logits: _LOGITS}
        for layer in segment.layers:
            step, now = _step(number, layer, names), len(steps)
            steps.append(step)
            for name in step.inputs:
                buffers[name] = replace(buffers[name], last=now)
            if step.output != _LOGITS:
                buffers[step.output] = Buffer(step.output, segment.sizes[layer.output], now, now)
                leads = emit.leads(layer).items()
                overlaps += [Overlap(step.output, step.inputs[place], lead) for place, lead in leads]
            if step.scratch is not None:
                buffers[step.scratch] = Buffer(step.scratch, emit.scratch_bytes(layer), now, now)
        if segment.features is not None:
            inputs.append(names[segment.features])
            buffers[inputs[-1]] = replace(buffers[inputs[-1]], last=len(steps))
    listed = list(buffers.values())
    return Layout(list(segments), steps, listed, plan(listed, overlaps), inputs)


def generate(network: Deployment, policy: Policy) -> dict[str, str]:
    """Return the C library of `network`: the text of each file of `LIBRARY`, by name.

    Args:
        network: INT8 segments.
        policy: what the library starts with; its name, promise and note stand in the header.

    Raises:
        ValueError: the kernels do not support a segment (see `layers.read`), the segments do not fit together (see
            `read`), or the policy does not fit the network (see `check_policy`).
    """
    check_policy(network, policy)
    layout = lay_out(read(network.models))
    kernels = [(_KERNELS / name).read_text(encoding="utf-8") for name in LIBRARY[2:]]
    texts = _header(layout, network, policy), _network(layout, network), *kernels
    return dict(zip(LIBRARY, texts, strict=True))


def check_policy(network: Deployment, policy: Policy) -> None:
    """Verify that `policy` has a threshold for each early exit of `network`, and a patience of 0 or 2..classifiers.

    Raises:
        ValueError: it does not; names the policy.
    """
    exits, classifiers = len(network.names) - 1, len(network.names)
    if len(policy.thresholds) != exits:
        thresholds = count(len(policy.thresholds), "threshold")
        raise ValueError(f"policy {policy.name}: {thresholds} for {count(exits, 'early exit')}")
    if policy.patience and not 2 <= policy.patience <= classifiers:
        raise ValueError(f"policy {policy.name}: patience {policy.patience} is neither 0 nor 2..{classifiers}")


def flash_bytes(layout: Layout) -> int:
    """Return the bytes of all constants on a 32-bit target."""
    return sum(emit.flash_bytes(step.layer) for step in layout.steps)


def _step(number: int, layer: Layer, names: dict[int, str]) -> Step:
    """Return the layer with its buffers; add its output to `names`, the buffers of a segment's activations."""
    inputs = tuple(names[tensor] for tensor in layer.inputs)
    name = f"segment{number}_{layer.name}"
    output = names.setdefault(layer.output, name)
    return Step(number, layer, inputs, output, f"{name} scratch" if emit.scratch_bytes(layer) else None)


def _header(layout: Layout, network: Deployment, policy: Policy) -> str:
    first = layout.segments[0]
    height, width, channels = first.shapes[first.input]
    names, exits = network.names, len(network.names) - 1
    return fill(
        "ee.h",
        title=f"{count(len(names), 'segment')}, {count(exits, 'early exit')}, {len(CLASSES)} classes",
        digest=hashlib.sha256(b"".join(network.models)).hexdigest(),
        policy=policy_comment(policy),
        version=VERSION,
        segments=len(names),
        exits=exits,
        classes=len(CLASSES),
        arena=layout.plan.size,
        flash=flash_bytes(layout),
        height=height,
        width=width,
        channels=channels,
        image=prod((height, width, channels)),
        scale=float_literal(first.input_scale),
        zero_point=first.input_zero_point,
        features=_feature_macros(layout),
        logits=_logits_macros(layout, names),
        defaults=_policy_macros(names, policy),
    )


def _feature_macros(layout: Layout) -> str:
    if len(layout.segments) == 1:
        return ""
    lines = ["/* What each later segment takes: the features that the segment before it leaves. */"]
    for number, segment in enumerate(layout.segments[1:], start=1):
        shape = shape_text(segment.shapes[segment.input])
        lines.append(f"#define EE_FEATURES_{number}_BYTES {segment.sizes[segment.input]} /* {shape} */")
    return "\n".join(lines) + "\n"


def _logits_macros(layout: Layout, names: Sequence[str]) -> str:
    lines = [
        "/* Scale of each classifier's logits: the label's softmax probability is 1 / (1 + exp(-margin * scale)). */"
    ]
    for number, (name, segment) in enumerate(zip(names, layout.segments, strict=True)):
        scale = _writer(segment, segment.logits).scale
        lines.append(f"#define EE_LOGITS_{number}_SCALE {float_literal(scale)} /* {name} */")
    return "\n".join(lines) + "\n"


def _policy_macros(names: Sequence[str], policy: Policy) -> str:
    lines = ["/* The policy that ee_init sets. */"]
    for number, (name, threshold) in enumerate(zip(names, policy.thresholds, strict=False)):
        lines.append(f"#define EE_THRESHOLD_{number} {threshold} /* {name} */")
    lines.append(f"#define EE_PATIENCE {policy.patience} /* 0: the thresholds alone decide */")
    return "\n".join(lines) + "\n"


def _network(layout: Layout, network: Deployment) -> str:
    segments = range(len(network.names))
    return fill(
        NETWORK,
        summary=_summary(layout, network.names),
        map=_map(layout),
        code="\n".join(_constants(step, layout) for step in layout.steps)
        + "\n"
        + "\n".join(_run(number, layout) for number in segments),
        labels=", ".join(text_literal(label) for label in CLASSES),
        table="\n".join(_entry(number, layout) for number in segments),
        quantize=_quantize(network),
    )


def _summary(layout: Layout, names: Sequence[str]) -> str:
    lines = [" * segment  classifier  layers  constants  input"]
    for number, name in enumerate(names):
        steps = [step for step in layout.steps if step.segment == number]
        flash = sum(emit.flash_bytes(step.layer) for step in steps)
        segment = layout.segments[number]
        shape = shape_text(segment.shapes[segment.input])
        lines.append(f" * {number:7}  {name:10}  {len(steps):6}  {flash:9}  {shape}")
    lines.append(f" * {'all':7}  {'':10}  {len(layout.steps):6}  {flash_bytes(layout):9}")
    return "\n".join(lines)


def _map(layout: Layout) -> str:
    """Return a comment that lists the buffers of the arena, in the order in which they are first written."""
    lines = [
        f" * Arena of {layout.plan.size} bytes; of each buffer the bytes and the layers, counted through all segments,",
        " * between which it is in use. Buffers share bytes where one is read for the last time while the other is",
        " * written behind the reads.",
        " *",
        " *  from     to  layers  buffer",
    ]
    for buffer in layout.buffers:
        offset = layout.plan.offsets[buffer.name]
        alive = f"{buffer.first}-{buffer.last}"
        lines.append(f" * {offset:5}  {offset + buffer.size:5}  {alive:>6}  {buffer.name}")
    return "\n".join(lines)


def _constants(step: Step, layout: Layout) -> str:
    flash = emit.flash_bytes(step.layer)
    return f"/* {_title(step)}, {count(flash, 'byte')} */\n{emit.constants(step.layer, step.name).strip()}\n"


def _run(number: int, layout: Layout) -> str:
    lines = [f"static void run_segment{number}(int8_t *logits)", "{"]
    for step in layout.steps:
        if step.segment != number:
            continue
        places = [_place(name, layout.plan) for name in step.inputs]
        scratch = "NULL" if step.scratch is None else _place(step.scratch, layout.plan)
        statement = emit.call(step.layer, step.name, places, _place(step.output, layout.plan), scratch)
        lines.append(f"    /* {_title(step)} */")
        lines += [f"    {line}" if line else "" for line in statement.strip().splitlines()]
    return "\n".join([*lines, "}", ""])


def _entry(number: int, layout: Layout) -> str:
    name = layout.inputs[number]
    size = layout.segments[number].sizes[layout.segments[number].input]
    threshold = f"EE_THRESHOLD_{number}" if number + 1 < len(layout.segments) else "-1"
    return f"    {{run_segment{number}, {layout.plan.offsets[name]}, {size}, {threshold}}},"


def _quantize(network: Deployment) -> str:
    """Return the body of ee_quantize: a subtraction if quantization comes down to one, else a table."""
    levels = network.quantize(np.arange(256, dtype=np.uint8))
    if np.array_equal(levels, np.arange(-128, 128)):
        return "    return (int8_t)(pixel - 128);"
    table = rows(levels.tolist(), indent=8)
    return f"    static const int8_t levels[256] = {{\n{table}\n    }};\n\n    return levels[pixel];"


def _place(name: str, arena: Plan) -> str:
    if name == _LOGITS:
        return _LOGITS
    offset = arena.offsets[name]
    return f"arena + {offset}" if offset else "arena"


def _title(step: Step) -> str:
    layer = step.layer
    return f"{step.name}: {layer.operator} {shape_text(layer.in_shape)} -> {shape_text(layer.out_shape)}"


def _check_handover(one: LayerGraph, other: LayerGraph, names: Sequence[str]) -> None:
    """Verify that the features of a segment are the input of the next: shape, zero point and scale."""
    writer = _writer(one, one.features)
    left = writer.out_shape, Quantization(writer.scale, writer.zero_point)
    taken = other.shapes[other.input], Quantization(other.input_scale, other.input_zero_point)
    if left[0] != taken[0] or not left[1].agrees_with(taken[1]):
        said = [
            f"{shape_text(shape)} of scale {steps.scale} and zero point {steps.zero_point}"
            for shape, steps in (left, taken)
        ]
        raise ValueError(f"{names[0]} leaves {said[0]}, {names[1]} takes {said[1]}")


def _writer(segment: LayerGraph, tensor: int | None) -> Layer:
    return next(layer for layer in segment.layers if layer.output == tensor)
