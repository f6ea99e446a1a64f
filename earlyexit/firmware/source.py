"""The C library of a network: a header, the network's constants and calls, and the kernels, as text.

All segments share one arena and one plan: what a segment hands to the next stays where it was written.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import isclose, prod
from pathlib import Path

import numpy as np

from earlyexit.common.pixels import Normalization
from earlyexit.firmware import emit, layers
from earlyexit.firmware.layers import Layer, Segment, Shape
from earlyexit.firmware.plan import Buffer, Overlap, Plan, plan
from earlyexit.firmware.text import count, fill, float_literal, shape_text, signed, text_literal
from earlyexit.tflite.segment import Quantization, quantize_images

VERSION = "1"  # of the C interface
EXAMPLE = Path(__file__).with_name("examples") / "example_main.c"

_KERNELS = Path(__file__).with_name("kernels")
_LOGITS = "logits"  # the caller's, not in the arena


@dataclass(frozen=True)
class Step:
    """A layer at its place in the network.

    Attributes:
        segment: its number, from 0.
        layer: what runs.
        inputs, output, scratch: names of buffers; the logits' is no buffer, scratch is None where none is needed.
    """

    segment: int
    layer: Layer
    inputs: tuple[str, ...]
    output: str
    scratch: str | None

    @property
    def name(self) -> str:
        """Identifier of the layer in C."""
        return f"segment{self.segment}_{self.layer.name}"


@dataclass(frozen=True)
class Layout:
    """Where everything lies.

    Attributes:
        segments: the network.
        steps: its layers, one segment behind the other.
        buffers, plan: what lies in the arena, and where.
        inputs: name of the buffer that holds each segment's input; the first is the image's.
    """

    segments: list[Segment]
    steps: list[Step]
    buffers: list[Buffer]
    plan: Plan
    inputs: list[str]


def read(models: Sequence[bytes]) -> list[Segment]:
    """Return the .tflite files `models` as segments that fit one behind the other.

    Raises:
        ValueError: as `layers.read`; or naming the segment that does not leave what the next one takes, or whose
            logits are not two.
    """
    segments = [layers.read(model, f"segment{number}.tflite") for number, model in enumerate(models, start=1)]
    for number, segment in enumerate(segments, start=1):
        source = f"segment{number}.tflite"
        if segment.sizes[segment.logits] != 2:
            raise ValueError(f"{source}: {segment.sizes[segment.logits]} logits, expected 2")
        if (segment.features is None) != (number == len(segments)):
            raise ValueError(f"{source}: all segments but the last leave features, the last leaves none")
    for number, (one, other) in enumerate(pairwise(segments), start=1):
        left, taken = _left(one), _taken(other)
        if not left.fits(taken):
            raise ValueError(f"segment{number}.tflite leaves {left}, segment{number + 1}.tflite takes {taken}")
    return segments


def lay_out(segments: Sequence[Segment]) -> Layout:
    """Plan one arena for all segments."""
    book = _Book()
    steps: list[Step] = []
    inputs = ["image"]
    book.write("image", segments[0].sizes[segments[0].input], 0)
    for number, segment in enumerate(segments):
        names = {segment.input: inputs[-1], segment.logits: _LOGITS}
        for layer in segment.layers:
            steps.append(_step(number, layer, names, segment.sizes, book, len(steps)))
        if segment.features is not None:
            inputs.append(names[segment.features])
            book.read(names[segment.features], len(steps))
    buffers = [Buffer(name, book.sizes[name], book.first[name], book.last[name]) for name in book.sizes]
    return Layout(list(segments), steps, buffers, plan(buffers, book.overlaps), inputs)


def generate(
    models: Sequence[bytes],
    names: Sequence[str],
    thresholds: Sequence[int],
    percentile: int | None,
    labels: Sequence[str],
    pixels: Normalization,
) -> dict[str, str]:
    """Return the C library of a network: the text of ee.h, ee_network.c, ee_kernels.h and ee_kernels.c by file name.

    Args:
        models: content of each segment's INT8 .tflite file, in order.
        names: of the classifiers, one a segment.
        thresholds: default margin of each early exit, -1 to 255.
        percentile: that the thresholds come from, for the header; None where they come from elsewhere.
        labels: of the two classes.
        pixels: what the network saw of a pixel in training.

    Raises:
        ValueError: what the kernels do not know (see `layers.read`), segments that do not fit one behind the other, or
            numbers of names, thresholds and labels that do not fit the segments.
    """
    check_defaults(models, names, thresholds, labels)
    layout = lay_out(read(models))
    digest = hashlib.sha256(b"".join(models)).hexdigest()
    defaults = None if percentile is None else f"percentile {percentile} of the calibration images"
    return {
        "ee.h": _header(layout, digest, names, thresholds, labels, defaults),
        "ee_network.c": _network(layout, names, labels, _pixels(layout.segments[0], pixels)),
        "ee_kernels.h": (_KERNELS / "ee_kernels.h").read_text(encoding="utf-8"),
        "ee_kernels.c": (_KERNELS / "ee_kernels.c").read_text(encoding="utf-8"),
    }


def flash_bytes(layout: Layout) -> int:
    """Return the bytes of all constants on a 32-bit target."""
    return sum(emit.flash_bytes(step.layer) for step in layout.steps)


@dataclass
class _Book:
    """Sizes and lifetimes of buffers while the steps are gone through."""

    sizes: dict[str, int] = field(default_factory=dict)
    first: dict[str, int] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    overlaps: list[Overlap] = field(default_factory=list)

    def write(self, name: str, size: int, step: int) -> None:
        self.sizes[name], self.first[name], self.last[name] = size, step, step

    def read(self, name: str, step: int) -> None:
        self.last[name] = step


def _step(number: int, layer: Layer, names: dict[int, str], sizes: dict[int, int], book: _Book, position: int) -> Step:
    inputs = tuple(names[tensor] for tensor in layer.inputs)
    for name in set(inputs) - {_LOGITS}:
        book.read(name, position)
    output = names.setdefault(layer.output, f"segment{number}_{layer.name}")
    if output != _LOGITS:
        book.write(output, sizes[layer.output], position)
        book.overlaps += [Overlap(output, inputs[which], lead) for which, lead in emit.leads(layer).items()]
    scratch = f"segment{number}_{layer.name} scratch" if emit.scratch_bytes(layer) else None
    if scratch is not None:
        book.write(scratch, emit.scratch_bytes(layer), position)
    return Step(number, layer, inputs, output, scratch)


def _header(
    layout: Layout,
    digest: str,
    names: Sequence[str],
    thresholds: Sequence[int],
    labels: Sequence[str],
    defaults: str | None,
) -> str:
    first = layout.segments[0]
    height, width, channels = first.shapes[first.input]
    exits = len(names) - 1
    return fill(
        "ee.h",
        title=f"{count(len(names), 'segment')}, {count(exits, 'early exit')}, {len(labels)} classes",
        digest=digest,
        version=VERSION,
        segments=len(names),
        exits=exits,
        classes=len(labels),
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
        thresholds=_threshold_macros(names, thresholds, defaults),
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
        last = next(layer for layer in segment.layers if layer.output == segment.logits)
        lines.append(f"#define EE_LOGITS_{number}_SCALE {float_literal(last.scale)} /* {name} */")
    return "\n".join(lines) + "\n"


def _threshold_macros(names: Sequence[str], thresholds: Sequence[int], defaults: str | None) -> str:
    if not thresholds:
        return ""
    lines = [f"/* Default thresholds{f': {defaults}' if defaults else ''}. */"]
    for number, (name, threshold) in enumerate(zip(names, thresholds, strict=False)):
        lines.append(f"#define EE_THRESHOLD_{number} {signed(threshold)} /* {name} */")
    return "\n".join(lines) + "\n"


def _network(layout: Layout, names: Sequence[str], labels: Sequence[str], quantize: str) -> str:
    segments = range(len(names))
    return fill(
        "ee_network.c",
        summary=_summary(layout, names),
        map=_map(layout),
        code="\n".join(_constants(step, layout) for step in layout.steps)
        + "\n"
        + "\n".join(_run(number, layout) for number in segments),
        labels=", ".join(text_literal(label) for label in labels),
        table="\n".join(_entry(number, layout) for number in segments),
        quantize=quantize,
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
    """Return the arena as a comment, in the order in which buffers come to life."""
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


def _pixels(first: Segment, normalization: Normalization) -> str:
    """Return the body of ee_quantize: a subtraction where that is what quantization amounts to, else a table."""
    pixels = np.arange(256, dtype=np.uint8)
    levels = quantize_images(pixels, normalization, Quantization(first.input_scale, first.input_zero_point))
    if np.array_equal(levels, np.arange(-128, 128)):
        return "    return (int8_t)(pixel - 128);"
    rows = ["        " + ", ".join(str(level) for level in row) + "," for row in levels.reshape(-1, 16).tolist()]
    return "\n".join(["    static const int8_t levels[256] = {", *rows, "    };", "", "    return levels[pixel];"])


def _place(name: str, arena: Plan) -> str:
    if name == _LOGITS:
        return _LOGITS
    offset = arena.offsets[name]
    return f"arena + {offset}" if offset else "arena"


def _title(step: Step) -> str:
    layer = step.layer
    return f"{step.name}: {layer.operator} {shape_text(layer.in_shape)} -> {shape_text(layer.out_shape)}"


@dataclass(frozen=True)
class _Tensor:
    shape: Shape
    scale: float
    zero_point: int

    def __str__(self) -> str:
        return f"{shape_text(self.shape)} of scale {self.scale} and zero point {self.zero_point}"

    def fits(self, other: "_Tensor") -> bool:
        # TensorFlow's quantizer finds the same range twice, and may round its scale in two ways.
        exact = (self.shape, self.zero_point) == (other.shape, other.zero_point)
        return exact and isclose(self.scale, other.scale, rel_tol=1e-6)


def _left(segment: Segment) -> _Tensor:
    assert segment.features is not None
    layer = next((layer for layer in segment.layers if layer.output == segment.features), None)
    if layer is None:
        return _taken(segment)
    return _Tensor(segment.shapes[segment.features], layer.scale, layer.zero_point)


def _taken(segment: Segment) -> _Tensor:
    return _Tensor(segment.shapes[segment.input], segment.input_scale, segment.input_zero_point)


def check_defaults(
    models: Sequence[bytes], names: Sequence[str], thresholds: Sequence[int], labels: Sequence[str]
) -> None:
    """Verify that names, thresholds and labels fit the segments.

    Raises:
        ValueError: numbers that do not fit, or a threshold outside -1..255.
    """
    if not models or len(names) != len(models) or len(thresholds) != len(models) - 1:
        raise ValueError(
            f"{len(names)} names and {len(thresholds)} thresholds for {count(len(models), 'segment')}; "
            "expected a name for each segment, and a threshold for each but the last"
        )
    if len(labels) != 2:
        raise ValueError(f"{len(labels)} labels, expected 2")
    for name, threshold in zip(names, thresholds, strict=False):
        if not -1 <= threshold <= 255:
            raise ValueError(f"threshold {threshold} of {name} is outside -1..255")
