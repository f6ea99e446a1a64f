"""report"""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earlyexit.emulation.compiler import OPTIMIZE
from earlyexit.emulation.emulate import Emulated
from earlyexit.firmware import layers
from earlyexit.firmware.layers import Layer, Window
from earlyexit.policy import decision
from earlyexit.policy.thresholds import Thresholds

_NETWORK = "ee_network.c"


_KERNEL = "ee_kernels.c"


def report(early_exit: Emulated, baseline: Emulated, limits: Thresholds, logits: NDArray[np.int8]) -> dict[str, Any]:
    """Return all figures.

    Args:
        early_exit, baseline: on the same images.
        limits: of the early exits.
        logits: INT8 (classifiers, N, 2) on the val split, for the share of images that leaves at each exit.
    """
    network, names = early_exit.network, early_exit.network.names
    segments = early_exit.trace.instructions.mean(1)
    whole, whole_macs = float(baseline.trace.instructions.mean()), sum(baseline.network.macs)
    until, macs_until = np.cumsum(segments), np.cumsum(network.macs)
    rows = {}
    for percentile in limits.table:
        shares = decision.exit_shares(decision.decide(logits, limits.margins[percentile]).exits, len(names))
        mean, mean_macs = float(np.dot(shares, until)), float(np.dot(shares, macs_until))
        rows[f"p{percentile}"] = {
            "exit_share": shares,
            "instructions": round(mean),
            "speedup": whole / mean,
            "speedup_macs": whole_macs / mean_macs,
        }
    return {
        "unit": "instructions issued per image on an emulated Cortex-M4 (not cycles), mean over the images",
        "images": len(early_exit.trace.outcomes),
        "val_images": logits.shape[1],
        "emulator": f"unicorn {version('unicorn')}",
        "compiler": f"clang of ziglang {version('ziglang')}, {OPTIMIZE}",
        "segments": {
            name: {"instructions": round(own), "until": round(total), "macs": macs, "macs_until": int(all_macs)}
            for name, own, total, macs, all_macs in zip(names, segments, until, network.macs, macs_until, strict=True)
        },
        "baseline": {"instructions": round(whole), "macs": whole_macs},
        "cascade": rows,
        "memory": {"early_exit": memory(early_exit), "baseline": memory(baseline)},
        "layers": {"early_exit": layer_costs(early_exit), "baseline": layer_costs(baseline)},
        "equal": {"early_exit": _compared(early_exit), "baseline": _compared(baseline)},
    }


def memory(emulated: Emulated) -> dict[str, Any]:
    """Return the bytes of flash and RAM in the linked image, by part.

    The test firmware's start-up code is listed, but belongs to the application, and so does the stack of its main.
    """
    image = emulated.image
    flash = {
        "network_constants": image.flash(_NETWORK) - image.code(_NETWORK),
        "network_code": image.code(_NETWORK),
        "kernels": image.flash(_KERNEL),
    }
    static = image.ram(_NETWORK) + image.ram(_KERNEL)
    arena_bytes = max(part.bytes for part in image.parts if part.ram)  # the largest variable by far
    stack = emulated.trace.stack
    return {
        "flash": {**flash, "total": sum(flash.values()), "test_firmware": image.flash() - sum(flash.values())},
        "ram": {"arena": arena_bytes, "state": static - arena_bytes, "stack": stack, "total": static + stack},
    }


def layer_costs(emulated: Emulated) -> list[dict[str, Any]]:
    """Return a row a layer: segment, name, kind, shapes, instructions (mean over the images) and macs."""
    rows = []
    for number, (name, model) in enumerate(zip(emulated.network.names, emulated.network.models, strict=True)):
        found = layers.read(model, f"segment{number + 1}.tflite").layers
        costs = np.array([[count for _, count in cost.calls] for cost in emulated.trace.segments[number]])
        for layer, count in zip(found, costs.mean(0).tolist(), strict=True):
            rows.append(
                {
                    "segment": name,
                    "layer": layer.name,
                    "kind": layer.name.rpartition("_")[0],
                    "in": "x".join(map(str, layer.in_shape)),
                    "out": "x".join(map(str, layer.out_shape)),
                    "instructions": round(count),
                    "macs": _macs(layer),
                }
            )
    return rows


def kinds(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Return the sums of instructions and macs of each kind of layer, the dearest first."""
    names = dict.fromkeys(row["kind"] for row in rows)
    sums = {name: _sum([row for row in rows if row["kind"] == name]) for name in names}
    return dict(sorted(sums.items(), key=lambda item: -item[1]["instructions"]))


def markdown(found: dict[str, Any]) -> str:
    """Return the report as Markdown tables."""
    return "\n".join([*_exit_lines(found), "", *_kind_lines(found), "", *_memory_lines(found), "", _note(found), ""])


def _exit_lines(found: dict[str, Any]) -> list[str]:
    base = found["baseline"]
    lines = ["| emulated Cortex-M4 | instructions | of the baseline's | MACs, of the baseline's | speedup (MACs) |"]
    lines.append("|---|---:|---:|---:|---:|")
    lines.append(f"| INT8 baseline | {base['instructions']:,} | | | |")
    for name, entry in found["segments"].items():
        share, macs = entry["until"] / base["instructions"], entry["macs_until"] / base["macs"]
        lines.append(f"| leaves at {name} | {entry['until']:,} | {100 * share:.1f} % | {100 * macs:.1f} % | |")
    for name, row in found["cascade"].items():
        share, macs = 1 / row["speedup"], 1 / row["speedup_macs"]
        speedup = f"{row['speedup']:.2f}x ({row['speedup_macs']:.2f}x)"
        cells = [f"**EE ({name})**, mean", f"{row['instructions']:,}", f"{100 * share:.1f} %", f"{100 * macs:.1f} %"]
        lines.append("| " + " | ".join([*cells, speedup]) + " |")
    return lines


def _kind_lines(found: dict[str, Any]) -> list[str]:
    rows = found["layers"]["early_exit"]
    names = list(found["segments"])
    total = sum(row["instructions"] for row in rows)
    lines = ["| layers | instructions | share | per MAC | " + " | ".join(f"per MAC, {name}" for name in names) + " |"]
    lines.append("|---|" + "---:|" * (3 + len(names)))
    for kind, entry in [*kinds(rows).items(), ("**all**", _sum(rows))]:
        inside = [
            [row for row in rows if row["segment"] == name and kind in (row["kind"], "**all**")] for name in names
        ]
        cells = [f"{entry['instructions']:,}", f"{100 * entry['instructions'] / total:.1f} %"]
        cells += [_per_mac(one) for one in (entry, *map(_sum, inside))]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return lines


def _memory_lines(found: dict[str, Any]) -> list[str]:
    entries = found["memory"]
    lines = ["| linked image, bytes | early-exit network | baseline |", "|---|---:|---:|"]
    rows = [
        ("flash: weights and other constants", "flash", "network_constants"),
        ("flash: code of the network", "flash", "network_code"),
        ("flash: kernels", "flash", "kernels"),
        ("**flash**", "flash", "total"),
        ("RAM: arena", "ram", "arena"),
        ("RAM: other variables", "ram", "state"),
        ("RAM: deepest stack", "ram", "stack"),
        ("**RAM**", "ram", "total"),
    ]
    for title, memory_, part in rows:
        values = [entries[name][memory_][part] for name in ("early_exit", "baseline")]
        lines.append(f"| {title} | {values[0]:,} | {values[1]:,} |")
    return lines


def _note(found: dict[str, Any]) -> str:
    equal = found["equal"]
    return (
        f"Mean over {found['images']} val images; shares of exits over {found['val_images']:,}. Instructions are not "
        "cycles: loads, branches and slow flash take more than one each, so a board is needed for milliseconds. "
        "Counted are issued instructions, those that an IT block skips included. What a MAC costs differs from layer "
        "to layer (fewer channels: more loads and requantizations for each), and so does this speedup from the MACs'. "
        f"Compiled by {found['compiler']}, counted by {found['emulator']}. Equal to TFLM's and LiteRT's reference "
        f"kernels in every byte: {equal['early_exit'] + equal['baseline']:,} logits and features."
    )


def _sum(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    return {key: sum(row[key] for row in rows) for key in ("instructions", "macs")}


def _per_mac(entry: dict[str, int]) -> str:
    return f"{entry['instructions'] / entry['macs']:.2f}" if entry["macs"] else "-"


def _compared(emulated: Emulated) -> int:
    """Return the number of logits and features that were compared."""
    return int(emulated.trace.logits.size + sum(features.size for features in emulated.trace.features))


def _macs(layer: Layer) -> int:
    if not isinstance(layer, Window):
        return 0
    return int(layer.out_shape[0] * layer.out_shape[1] * layer.weights.size)
