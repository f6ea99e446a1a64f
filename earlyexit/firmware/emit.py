"""Write a layer as C for ee_kernels.h: its constants, the call of its kernel, and the memory that the call needs."""

import textwrap
from collections.abc import Sequence

import numpy as np

from earlyexit.firmware.layers import Add, Conv, Dense, Depthwise, Layer, Mean, Pointwise, Window

_COLUMNS = 110
_DEEPEST_FAST_SHIFT = 22  # a zero point shifted further does not fit into 32 bits
_WEIGHTS_PADDING = 3  # the DSP code reads four weights at a time
_SHORT_LINE = 12  # bytes that may be written behind a window: EE_SHORT in ee_kernels.c
_BAND_BYTES = 1600  # of scratch memory for a depthwise convolution, unless one row of output needs more
_FLASH_BYTES = {"ee_window": 44, "ee_sum": 20, "ee_pool": 12}  # sizes of the structs on a 32-bit target
KERNELS: dict[type[Layer], str] = {
    Conv: "ee_convolution",
    Pointwise: "ee_pointwise",
    Dense: "ee_pointwise",
    Depthwise: "ee_depthwise",
    Add: "ee_add",
    Mean: "ee_mean",
}
"""The C function that runs a layer."""


def constants(layer: Layer, name: str) -> str:
    """Return the C definitions of the layer's arrays and of its description, a `static const` struct called `name`."""
    kind, fields = description(layer, name)
    parts = [_array(f"{name}_{field}", values) for field, values in arrays(layer).items()]
    body = "".join(f"    .{field} = {value},\n" for field, value in fields.items())
    return "".join([*parts, f"static const {kind} {name} = {{\n{body}}};\n"])


def call(layer: Layer, name: str, inputs: Sequence[str], output: str, scratch: str) -> str:
    """Return the C statement that runs the layer.

    Args:
        layer: the layer to run.
        name: of its description, as given to `constants`.
        inputs, output: C expressions of type `const int8_t *` and `int8_t *`.
        scratch: C expression of a pointer to `scratch_bytes(layer)` bytes, aligned to 4; ignored if that is 0.
    """
    arguments = [f"&{name}", *(inputs[place] for place in places(layer)), output]
    if scratch_bytes(layer):
        arguments.append(f"(uint32_t *)(void *)({scratch})")
    return f"{KERNELS[type(layer)]}({', '.join(arguments)});"


def places(layer: Layer) -> tuple[int, ...]:
    """Return the positions in `layer.inputs` in the order in which the kernel takes them.

    A sum takes the input of the greater scale first: its factor is 1/2, which needs no multiplication.
    """
    if not isinstance(layer, Add):
        return tuple(range(len(layer.inputs)))
    first = [*zip(layer.in_multipliers, layer.in_shifts, strict=True)].index((2**30, 0))
    return first, 1 - first


def scratch_bytes(layer: Layer) -> int:
    """Return the bytes that the kernel needs beside input and output while it runs."""
    if not isinstance(layer, Window):
        return 0
    if isinstance(layer, Depthwise):
        return 4 * _plane_bytes(layer, _band(layer))
    depth = int(layer.weights[0].size)
    block = 32 * -(-depth // 4)  # four pixels as 16-bit numbers
    return block + (4 * (depth + _SHORT_LINE // 4) if isinstance(layer, Conv) else 0)


def leads(layer: Layer) -> dict[int, int]:
    """Return, for each input that the output may overwrite, the bytes by which the output must start before it.

    Keys are positions in `layer.inputs`. The output may start anywhere at or before `input - lead`.
    """
    if isinstance(layer, Pointwise):
        pixels = layer.out_shape[0] * layer.out_shape[1]
        return {0: max(0, (pixels - 1) * (layer.out_shape[2] - layer.in_shape[2]))}
    if isinstance(layer, Conv):
        return {0: _convolution_lead(layer)}
    return dict.fromkeys(range(len(layer.inputs)), 0)


def flash_bytes(layer: Layer) -> int:
    """Return the bytes of the layer's constants on a 32-bit target."""
    kind, _ = description(layer, "")
    return _FLASH_BYTES[kind] + sum(values.nbytes for values in arrays(layer).values())


def description(layer: Layer, name: str) -> tuple[str, dict[str, object]]:
    """Return the C type of the layer's description, and its fields in order; the names of arrays begin with `name`."""
    if isinstance(layer, Window):
        return "ee_window", _window_fields(layer, name)
    if isinstance(layer, Add):
        return "ee_sum", _sum_fields(layer)
    if isinstance(layer, Mean):
        fields: dict[str, object] = {
            "multiplier": f"{2 * layer.multiplier}u",
            "shift": -layer.shift,
            "in_zero_point": layer.in_zero_point,
            "out_zero_point": layer.zero_point,
            "pixels": layer.in_shape[0] * layer.in_shape[1],
            "channels": layer.in_shape[2],
        }
        return "ee_pool", fields
    raise TypeError(f"no kernel for {type(layer).__name__}")


def arrays(layer: Layer) -> dict[str, np.ndarray]:
    """Return the arrays of the layer's description by field, in the layout that the kernels read."""
    if not isinstance(layer, Window):
        return {}
    weights = layer.weights
    if isinstance(layer, Depthwise):
        weights = weights.transpose(2, 0, 1).ravel()
    else:
        weights = np.concatenate([weights.ravel(), np.zeros(_WEIGHTS_PADDING, np.int8)])
    return {
        "weights": weights,
        "bias": layer.bias,
        "multipliers": _doubled(layer.multipliers),
        "shifts": (-layer.shifts).astype(np.int8),
    }


def _doubled(multipliers: np.ndarray) -> np.ndarray:
    return (2 * multipliers.astype(np.int64)).astype(np.uint32)


def _window_fields(layer: Window, name: str) -> dict[str, object]:
    kernel = layer.weights.shape[:2] if isinstance(layer, Depthwise) else layer.weights.shape[1:3]
    band, row = (_band(layer), _row(layer)) if isinstance(layer, Depthwise) else (0, 0)
    return {
        **{field: f"{name}_{field}" for field in ("weights", "bias", "multipliers", "shifts")},
        **dict(zip(("in_height", "in_width", "in_channels"), layer.in_shape, strict=True)),
        **dict(zip(("out_height", "out_width", "out_channels"), layer.out_shape, strict=True)),
        **dict(zip(("kernel_height", "kernel_width"), kernel, strict=True)),
        **dict(zip(("stride_y", "stride_x"), layer.stride, strict=True)),
        **dict(zip(("pad_top", "pad_left"), layer.padding, strict=True)),
        "in_zero_point": layer.in_zero_point,
        "out_zero_point": layer.zero_point,
        "low": layer.low,
        "high": layer.high,
        "fast": int(_is_fast(layer)),
        "band": band,
        "row": row,
    }


def _sum_fields(layer: Add) -> dict[str, object]:
    a, b = places(layer)
    # A factor of less than 2^-32 is 0 in TensorFlow Lite; half of 28 bits, shifted by 31, is 0 too.
    factors = [(layer.in_multipliers[b], -layer.in_shifts[b]), (layer.multiplier, -layer.shift)]
    (b_multiplier, b_shift), (multiplier, shift) = [factor if factor[0] else (2**30, 31) for factor in factors]
    return {
        "b_multiplier": f"{2 * b_multiplier}u",
        "multiplier": f"{2 * multiplier}u",
        "b_shift": b_shift,
        "shift": shift,
        "a_zero_point": layer.in_zero_points[a],
        "b_zero_point": layer.in_zero_points[b],
        "out_zero_point": layer.zero_point,
        "low": layer.low,
        "high": layer.high,
        "fast": int(1 <= shift <= _DEEPEST_FAST_SHIFT and (layer.low, layer.high) == (-128, 127)),
        "size": layer.out_shape[0] * layer.out_shape[1] * layer.out_shape[2],
    }


def _is_fast(layer: Window) -> bool:
    """Return whether the DSP code's arithmetic is exact: see `fast` in ee_kernels.h."""
    wide = np.abs(layer.weights.astype(np.int64))
    largest = np.abs(layer.bias.astype(np.int64)) + 128 * wide.sum(
        (0, 1) if isinstance(layer, Depthwise) else (1, 2, 3)
    )
    right = -layer.shifts
    return bool((largest < 2**30).all() and (right >= 1).all() and (right <= _DEEPEST_FAST_SHIFT).all())


def _row(layer: Depthwise) -> int:
    """Return the values of an input row in scratch memory: padding included, and rounded up to pairs of pixels."""
    width, columns, step = layer.out_shape[1], int(layer.weights.shape[1]), layer.stride[1]
    last = (width - 1) * step + columns
    return -(-max(last, layer.padding[1] + layer.in_shape[1]) // 2) * 2


def _plane_bytes(layer: Depthwise, band: int) -> int:
    return 2 * _row(layer) * ((band - 1) * layer.stride[0] + int(layer.weights.shape[0]))


def _band(layer: Depthwise) -> int:
    """Return the rows of output that are computed from one filling of scratch memory."""
    rows = min(layer.out_shape[0], 255)
    return next((band for band in range(rows, 1, -1) if 4 * _plane_bytes(layer, band) <= _BAND_BYTES), 1)


def _convolution_lead(layer: Conv) -> int:
    """Return the lead at which no pixel of the output overwrites input that a later pixel still reads."""
    (height, width, inputs), (rows, columns, outputs) = layer.in_shape, layer.out_shape
    tops = np.maximum(0, np.arange(rows) * layer.stride[0] - layer.padding[0])
    lefts = np.maximum(0, np.arange(columns) * layer.stride[1] - layer.padding[1])
    first = (np.minimum(tops, height)[:, None] * width + lefts).ravel() * inputs
    needed = np.minimum.accumulate(first[::-1])[::-1]  # the lowest byte that this pixel or a later one reads
    written = np.arange(1, rows * columns) * outputs
    return int(np.max(written - needed[1:], initial=0))


def _array(name: str, values: np.ndarray) -> str:
    suffix = "u" if values.dtype == np.uint32 else ""
    # C has no literal for the smallest integer: -2147483648 would be the negation of a number beyond 32 bits.
    cells = [f"{value}{suffix}," if value != -(2**31) else "-2147483647 - 1," for value in values.ravel().tolist()]
    indent = " " * 4
    body = textwrap.fill(
        " ".join(cells), _COLUMNS, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    return f"static const {values.dtype.name}_t {name}[{values.size}] = {{\n{body}\n}};\n"
