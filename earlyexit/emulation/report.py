"""Report what the C library costs on the emulated Cortex-M4, exit by exit, against the INT8 baseline's library."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earlyexit.common.markdown import NOTHING, bold, percent, table, thousands
from earlyexit.emulation.compiler import OPTIMIZE
from earlyexit.emulation.emulate import Emulated
from earlyexit.emulation.emulator import Cost
from earlyexit.firmware import emit, layers, source
from earlyexit.firmware.layers import Layer
from earlyexit.firmware.text import shape_text
from earlyexit.tflite import reader

_MEMORY = {
    "flash: weights and other constants": ("flash", "network_constants"),
    "flash: code of the network": ("flash", "network_code"),
    "flash: kernels": ("flash", "kernels"),
    "**flash**": ("flash", "total"),
    "RAM: arena": ("ram", "arena"),
    "RAM: other variables": ("ram", "state"),
    "RAM: deepest stack": ("ram", "stack"),
    "**RAM**": ("ram", "total"),
}


def report(early_exit: Emulated, baseline: Emulated, clock_mhz: int) -> dict[str, Any]:
    """Return estimated cycles, instructions, memory, and their comparison with the baseline.

    Args:
        early_exit, baseline: run on the same images.
        clock_mhz: of the device.
    """
    names = early_exit.network.names
    segments = _segments(early_exit)
    until = {kind: np.cumsum(values) for kind, values in segments.items()}
    return {
        "unit": "estimated cycles, and instructions issued, per image on a Cortex-M4, mean over the images",
        "clock_mhz": clock_mhz,
        "images": early_exit.trace.logits.shape[1],
        "emulator": f"unicorn {version('unicorn')}",
        "compiler": f"clang of ziglang {version('ziglang')}, {OPTIMIZE}",
        "segments": {
            name: {
                **_rounded({kind: values[number] for kind, values in segments.items()}),
                **_rounded({f"{kind}_until": values[number] for kind, values in until.items()}),
            }
            for number, name in enumerate(names)
        },
        "baseline": whole(baseline),
        "memory": {"early_exit": memory(early_exit), "baseline": memory(baseline)},
        "layers": {"early_exit": layer_costs(early_exit), "baseline": layer_costs(baseline)},
        "equal": {"early_exit": _compared(early_exit), "baseline": _compared(baseline)},
    }


def whole(emulated: Emulated) -> dict[str, int]:
    """Return mean estimated cycles, mean instructions, and MACs of an image that goes through all segments."""
    return _rounded({kind: values.sum() for kind, values in _segments(emulated).items()})


def memory(emulated: Emulated) -> dict[str, Any]:
    """Return the bytes of flash and RAM in the linked image, by part.

    The start-up code and `main` of the test firmware stand for the application: they are listed, and not in the totals.
    """
    image = emulated.image
    flash = {
        "network_constants": image.flash(source.NETWORK) - image.code(source.NETWORK),
        "network_code": image.code(source.NETWORK),
        "kernels": image.flash(source.KERNELS),
    }
    total = sum(flash.values())
    static = image.ram(source.NETWORK) + image.ram(source.KERNELS)
    arena = max(part.bytes for part in image.parts if part.in_ram)  # the largest variable by far
    stack = emulated.trace.stack
    return {
        "flash": {**flash, "total": total, "test_firmware": image.flash() - total},
        "ram": {"arena": arena, "state": static - arena, "stack": stack, "total": static + stack},
    }


def layer_costs(emulated: Emulated) -> list[dict[str, Any]]:
    """Return a row for each layer: segment, name, kind, shapes, mean estimated cycles and instructions, MACs.

    `fast` says that the code for the DSP extension runs it; otherwise plain C does.
    """
    rows = []
    for number, (name, model) in enumerate(zip(emulated.network.names, emulated.network.models, strict=True)):
        found = layers.read(model, f"segment{number + 1}.tflite").layers
        counts = np.mean([_by_layer(cost, found) for cost in emulated.trace.segments[number]], 0)
        for layer, operator, (instructions, cycles) in zip(found, reader.operators(model), counts, strict=True):
            rows.append(
                {
                    "segment": name,
                    "layer": layer.name,
                    "kind": layer.name.rpartition("_")[0],
                    "in": shape_text(layer.in_shape),
                    "out": shape_text(layer.out_shape),
                    "cycles": round(cycles),
                    "instructions": round(instructions),
                    "macs": operator.macs,
                    "fast": emit.runs_fast(layer),
                }
            )
    return rows


def kinds(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Return the sums of cycles, instructions and MACs of each kind of layer, most cycles first."""
    names = dict.fromkeys(row["kind"] for row in rows)
    sums = {name: _sum([row for row in rows if row["kind"] == name]) for name in names}
    return dict(sorted(sums.items(), key=lambda item: -item[1]["cycles"]))


def markdown(found: dict[str, Any]) -> str:
    """Return the report as Markdown tables."""
    networks = {"early-exit network": found["memory"]["early_exit"], "baseline": found["memory"]["baseline"]}
    tables = _exits(found), by_kind(found["layers"]["early_exit"]), linked(networks)
    return "\n".join([*(line for lines in tables for line in (*lines, "")), _note(found), ""])


def by_kind(layer_rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the rows of `layer_costs` as the lines of a table: costs by kind of layer, and by segment."""
    names = dict.fromkeys(row["segment"] for row in layer_rows)
    total = _sum(layer_rows)["cycles"]
    groups = {kind: [row for row in layer_rows if row["kind"] == kind] for kind in kinds(layer_rows)}
    rows = []
    for kind, inside in [*groups.items(), (bold("all"), layer_rows)]:
        entry = _sum(inside)
        segments = [_sum([row for row in inside if row["segment"] == name]) for name in names]
        cells = thousands(entry["cycles"]), _percent(entry["cycles"] / total), thousands(entry["instructions"])
        rows.append([kind, *cells, *map(_per_mac, (entry, *segments))])
    heads = ["layers", "estimated cycles", "share", "instructions", "estimated cycles per MAC"]
    return table([*heads, *(f"per MAC, {name}" for name in names)], rows)


def linked(networks: Mapping[str, dict[str, Any]]) -> list[str]:
    """Return the results of `memory` as the lines of a table, with a column for each network.

    Args:
        networks: by the title of the column.
    """
    rows = [
        [title, *(thousands(entry[kind][part]) for entry in networks.values())]
        for title, (kind, part) in _MEMORY.items()
    ]
    return table(["linked image, bytes", *networks], rows)


def _by_layer(cost: Cost, found: Sequence[Layer]) -> NDArray[np.int64]:
    """Return the instructions and cycles of each layer of a segment, those of all kernels that it runs."""
    calls = [emit.calls(layer) for layer in found]
    assert [name for name, _ in cost.calls] == [name for names in calls for name in names]
    first = np.cumsum([0, *map(len, calls[:-1])])
    return np.add.reduceat(np.array([count for _, count in cost.calls], np.int64), first)


def _exits(found: dict[str, Any]) -> list[str]:
    base, clock = found["baseline"], found["clock_mhz"]
    rows = [["INT8 baseline", *_costs(base, clock), "", thousands(base["instructions"]), ""]]
    for name, entry in found["segments"].items():
        until = {kind: entry[f"{kind}_until"] for kind in ("cycles", "instructions", "macs")}
        share, macs = (_percent(until[kind] / base[kind]) for kind in ("cycles", "macs"))
        rows.append([f"leaves at {name}", *_costs(until, clock), share, thousands(until["instructions"]), macs])
    heads = ["Cortex-M4", "estimated cycles", f"estimated ms at {clock} MHz", "of the baseline's", "instructions"]
    return table([*heads, "MACs, of the baseline's"], rows)


def _costs(entry: dict[str, Any], clock_mhz: int) -> tuple[str, str]:
    return thousands(entry["cycles"]), f"{entry['cycles'] / clock_mhz / 1000:.1f}"


def _note(found: dict[str, Any]) -> str:
    equal = found["equal"]
    plain = [
        f"{row['layer']} of {network} ({row['segment']})"
        for network, rows in found["layers"].items()
        for row in rows
        if not row["fast"]
    ]
    return (
        f"Mean over {found['images']} calibration images. Cycles are estimated: "
        "the timings of Arm's Cortex-M4 Technical Reference Manual, taken branches and unaligned loads counted, memory "
        "without wait states. A board differs: flash wait states and the cache before it, bus contention. Instructions "
        "are those issued, those that an IT block skips included. What a MAC costs differs from layer to layer (fewer "
        "channels: more loads and requantizations for each), and so do these shares from the MACs'. Compiled by "
        f"{found['compiler']}, counted by {found['emulator']}. Equal to TFLM's and LiteRT's reference kernels in every "
        f"byte: {equal['early_exit'] + equal['baseline']:,} logits and features. Layers that the code for the DSP "
        f"extension does not run: {', '.join(plain) or 'none'}."
    )


def _segments(emulated: Emulated) -> dict[str, NDArray[np.float64]]:
    """Return mean estimated cycles, mean instructions, and MACs of each segment."""
    trace, macs = emulated.trace, np.array(emulated.network.macs, np.float64)
    return {"cycles": trace.cycles.mean(1), "instructions": trace.instructions.mean(1), "macs": macs}


def _rounded(values: dict[str, Any]) -> dict[str, int]:
    return {kind: round(float(value)) for kind, value in values.items()}


def _sum(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    return {key: sum(row[key] for row in rows) for key in ("cycles", "instructions", "macs")}


def _percent(share: float) -> str:
    return f"{percent(share, 1)} %"


def _per_mac(entry: dict[str, int]) -> str:
    return f"{entry['cycles'] / entry['macs']:.2f}" if entry["macs"] else NOTHING


def _compared(emulated: Emulated) -> int:
    """Return the number of logits and features that were compared."""
    return int(emulated.trace.logits.size + sum(features.size for features in emulated.trace.features))
