"""Write a layer as C for ee_kernels.h: its constants, the call of its kernel, and the memory that the call needs."""

import textwrap
from collections.abc import Sequence

import numpy as np

from earlyexit.firmware import requantization
from earlyexit.firmware.layers import Add, Conv, Dense, Depthwise, Layer, Mean, Pointwise, Window

_COLUMNS = 110
_DEEPEST_FAST_SHIFT = 22  # a zero point shifted further does not fit into 32 bits
_BAND_BYTES = 2300  # of scratch memory for a depthwise convolution, where one row of output needs no more
_PITCHES = (112, 508)  # bytes of a row of it: EE_NEAR and EE_FAR in ee_kernels.c
_EXACT = np.dtype([("bias", "<i4"), ("multiplier", "<u4"), ("channel", "<u2"), ("shift", "i1"), ("pad", "u1")])
_FLASH_BYTES = {"ee_window": 44, "ee_sum": 32, "ee_pool": 12}  # of the descriptions on a 32-bit target
_KERNELS: dict[type[Layer], str] = {
    Conv: "ee_convolution",
    Pointwise: "ee_pointwise",
    Dense: "ee_pointwise",
    Depthwise: "ee_depthwise",
    Add: "ee_add",
    Mean: "ee_mean",
}
_KERNELS4: dict[type[Layer], str] = {  # for weights of four bits
    Conv: "ee_convolution4",
    Pointwise: "ee_pointwise4",
    Depthwise: "ee_depthwise4",
}


def kernel(layer: Layer) -> str:
    """Return the C function that runs the layer."""
    kernels = _KERNELS4 if isinstance(layer, Window) and layer.bits == 4 else _KERNELS
    return kernels[type(layer)]


def calls(layer: Layer) -> tuple[str, ...]:
    """Return the kernels that run one after the other: that of the layer, and one that it calls."""
    name = kernel(layer)
    return (name, _KERNELS[Depthwise]) if name == _KERNELS4[Depthwise] else (name,)


def constants(layer: Layer, name: str) -> str:
    """Return the C definitions of the layer's arrays and of its description, a `static const` struct called `name`."""
    kind, fields = description(layer, name)
    parts = [_array(f"{name}_{field}", values) for field, values in arrays(layer).items() if values.size]
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
    return f"{kernel(layer)}({', '.join(arguments)});"


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
        unpacked = _depthwise_stream(layer, 8).nbytes if layer.bits == 4 else 0
        return _planes_bytes(layer, _band(layer)) + unpacked
    groups = -(-int(layer.weights[0].size) // 4)
    # Four pixels as 16-bit numbers, and a window as bytes.
    return 32 * groups + (4 * groups if isinstance(layer, Conv) else 0)


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


def runs_fast(layer: Layer) -> bool:
    """Return whether the DSP code computes the layer, its exact channels excepted; else plain C does."""
    if isinstance(layer, Add):
        return bool(_sum_fields(layer)["fast"])
    if not isinstance(layer, Depthwise):
        return True
    usual = layer.weights.shape[:2] == (3, 3) and layer.stride in ((1, 1), (2, 2))
    return usual and requantization.lines(layer).rectified and 2 * _row(layer) <= _PITCHES[-1]


def exact_channels(layer: Layer) -> int:
    """Return the number of output channels that take TensorFlow Lite's own, slower arithmetic: `exact` in ee_window."""
    return len(arrays(layer)["exact"]) if isinstance(layer, Window) else 0


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
    found = requantization.lines(layer)
    stream = _depthwise_stream(layer, layer.bits) if isinstance(layer, Depthwise) else _paired_stream(layer)
    needed = ~found.equal
    if not isinstance(layer, Depthwise) and len(needed) % 2:
        needed[-1] = True
    channels = np.flatnonzero(needed)
    exact = np.zeros(len(channels), _EXACT)
    exact["bias"], exact["multiplier"] = layer.bias[channels], 2 * layer.multipliers[channels].astype(np.int64)
    exact["channel"], exact["shift"] = channels, -layer.shifts[channels]
    return {"weights": stream, "exact": exact}


def _channel_weights(layer: Window) -> np.ndarray:
    """Return the weights, the output channels first; zeros for a channel that has one output for all inputs."""
    constant = requantization.lines(layer).constant
    weights = np.where(constant, 0, np.moveaxis(layer.weights, -1 if isinstance(layer, Depthwise) else 0, -1))
    return np.moveaxis(weights, -1, 0).astype(np.int8)


def _paired_stream(layer: Window) -> np.ndarray:
    """Return the weights of a convolution and its lines as 32-bit words, in the order of ee_window."""
    weights, found = _channel_weights(layer), requantization.lines(layer)
    count, depth = len(weights), int(weights[0].size)
    pairs, groups = -(-count // 2), -(-depth // 4)
    padded = np.zeros((2 * pairs, 4 * groups), np.int8)
    rows = weights.reshape(count, weights.shape[1], -1)
    fours = rows.shape[2] // 4 * 4
    padded[:count, :depth] = np.concatenate(
        [rows[..., :fours].reshape(count, -1), rows[..., fours:].reshape(count, -1)], 1
    )
    woven = padded.reshape(pairs, 2, groups, 4)[..., [0, 2, 1, 3]].transpose(0, 2, 3, 1)
    if layer.bits == 4:
        woven = _halves(woven[:, :, :2], woven[:, :, 2:])
    words = np.ascontiguousarray(woven).reshape(pairs, -1).view(np.uint32)
    starts, lines = (np.zeros((2 * pairs, values.shape[1]), np.uint32) for values in _line_words(found))
    starts[:count], lines[:count] = _line_words(found)
    return np.concatenate([starts.reshape(pairs, -1), words, lines.reshape(pairs, -1)], 1).ravel()


def _depthwise_stream(layer: Depthwise, bits: int) -> np.ndarray:
    """Return the weights of a depthwise convolution, of `bits`, and its lines, as above."""
    weights, found = _channel_weights(layer), requantization.lines(layer)
    count, rows, columns = weights.shape
    padded = np.zeros((count, rows + (rows % 2 if bits == 4 else 0), (columns + 4) // 4 * 4), np.int8)
    padded[:, :rows, :columns] = weights
    if bits == 4:
        padded = _halves(padded[:, ::2], padded[:, 1::2])
    padded[:, 0, columns] = found.scales - requantization.SCALE
    starts, lines = _line_words(found)
    return np.concatenate([starts, padded.reshape(count, -1).view(np.uint32), lines], 1).ravel()


def _halves(uppers: np.ndarray, lowers: np.ndarray) -> np.ndarray:
    """Return numbers of four bits, two to a byte, int8."""
    found: np.ndarray = uppers << 4 | lowers & 15
    return found


def _line_words(found: requantization.Lines) -> tuple[np.ndarray, np.ndarray]:
    """Return start, and multiplier, offset and step, of each channel; a rectified layer has no more than the first."""
    columns = [found.multipliers, found.offsets, found.steps]
    lines = np.stack(columns[:1] if found.rectified else columns, 1)
    return found.starts[:, None].astype(np.uint32), lines.astype(np.uint32)


def _window_fields(layer: Window, name: str) -> dict[str, object]:
    kernel = layer.weights.shape[:2] if isinstance(layer, Depthwise) else layer.weights.shape[1:3]
    band, row = (_band(layer), _row(layer)) if isinstance(layer, Depthwise) else (0, 0)
    exact, lines = len(arrays(layer)["exact"]), requantization.lines(layer)
    return {
        "weights": f"(const int8_t *){name}_weights",
        "exact": f"{name}_exact" if exact else "0",
        "offset": int(lines.offsets[0]) if lines.rectified else 0,
        **dict(zip(("in_height", "in_width", "in_channels"), layer.in_shape, strict=True)),
        **dict(zip(("out_height", "out_width", "out_channels"), layer.out_shape, strict=True)),
        **dict(zip(("kernel_height", "kernel_width"), kernel, strict=True)),
        **dict(zip(("stride_y", "stride_x"), layer.stride, strict=True)),
        **dict(zip(("pad_top", "pad_left"), layer.padding, strict=True)),
        "in_zero_point": layer.in_zero_point,
        "out_zero_point": layer.zero_point,
        "low": layer.low,
        "high": layer.high,
        "shift": lines.shift,
        "rectified": int(lines.rectified),
        "band": band,
        "exacts": exact,
        "row": row,
    }


def _sum_fields(layer: Add) -> dict[str, object]:
    a, b = places(layer)
    # A factor of less than 2^-32 is 0 in TensorFlow Lite; half of 28 bits, shifted by 31, is 0 too.
    factors = [(layer.in_multipliers[b], -layer.in_shifts[b]), (layer.multiplier, -layer.shift)]
    (b_multiplier, b_shift), (multiplier, shift) = [factor if factor[0] else (2**30, 31) for factor in factors]
    a_line, b_line, start = requantization.sum_lines(layer, (a, b))
    return {
        "b_multiplier": f"{2 * b_multiplier}u",
        "multiplier": f"{2 * multiplier}u",
        "a_line": a_line,
        "b_line": b_line,
        "start": start,
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


def _row(layer: Depthwise) -> int:
    """Return the values of an input row in scratch memory: padding included, and rounded up to pairs of pixels."""
    width, columns, step = layer.out_shape[1], int(layer.weights.shape[1]), layer.stride[1]
    last = (width - 1) * step + columns
    return -(-max(last, layer.padding[1] + layer.in_shape[1]) // 2) * 2


def _planes_bytes(layer: Depthwise, band: int) -> int:
    """Bytes of four channels' rows as 16-bit numbers, side by side where they are short; of one as bytes at least."""
    row, held = _row(layer), (band - 1) * layer.stride[0] + int(layer.weights.shape[0])
    if not runs_fast(layer):
        return -(-held * row // 4) * 4
    pitch = next(pitch for pitch in _PITCHES if 2 * row <= pitch)
    beside = next(count for count in (4, 2, 1) if 2 * count * row <= pitch)
    return 4 // beside * held * pitch


def _band(layer: Depthwise) -> int:
    """Return the rows of output that are computed from one filling of scratch memory."""
    rows = min(layer.out_shape[0], 255)
    most = next((band for band in range(rows, 1, -1) if _planes_bytes(layer, band) <= _BAND_BYTES), 1)
    band = -(-rows // -(-rows // most))  # as few bands as can be, alike in size
    return band + 1 if band % 2 and band < most else band  # the DSP code takes rows in twos


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
    """Return the definition of an array of words, or of ee_exact."""
    words = values.dtype == np.uint32
    texts = [f"{value}u," for value in values.tolist()] if words else _exact_texts(values)
    indent = " " * 4
    body = textwrap.fill(
        " ".join(texts), _COLUMNS, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    return f"static const {'uint32_t' if words else 'ee_exact'} {name}[{values.size}] = {{\n{body}\n}};\n"


def _exact_texts(values: np.ndarray) -> list[str]:
    rows = values[["bias", "multiplier", "channel", "shift"]].tolist()
    return [f"{{{bias if bias > -(2**31) else '-2147483647 - 1'}, {m}u, {c}, {s}}}," for bias, m, c, s in rows]
