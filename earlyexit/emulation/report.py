"""Report what the C library costs on the emulated Cortex-M4, exit by exit, against the INT8 baseline's library."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earlyexit.common.markdown import NOTHING, bold, percent, table, thousands, times
from earlyexit.emulation.compiler import OPTIMIZE
from earlyexit.emulation.emulate import Emulated
from earlyexit.firmware import layers, source
from earlyexit.firmware.text import shape_text
from earlyexit.policy import decision
from earlyexit.policy.thresholds import Thresholds
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


def report(
    early_exit: Emulated, baseline: Emulated, thresholds: Thresholds, logits: NDArray[np.int8]
) -> dict[str, Any]:
    """Return instructions, memory and their comparison with the baseline.

    Args:
        early_exit, baseline: run on the same images.
        thresholds: of the early exits.
        logits: INT8 (classifiers, N, 2) on the val split; they give the share of images that leaves at each exit.
    """
    network, names = early_exit.network, early_exit.network.names
    segments = early_exit.trace.instructions.mean(1)
    whole, whole_macs = float(baseline.trace.instructions.mean()), sum(baseline.network.macs)
    until, macs_until = np.cumsum(segments), np.cumsum(network.macs)
    cascade = {}
    for percentile in thresholds.table:
        shares = decision.exit_shares(decision.decide(logits, thresholds.margins[percentile]).exits, len(names))
        mean, mean_macs = float(np.dot(shares, until)), float(np.dot(shares, macs_until))
        cascade[f"p{percentile}"] = {
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
        "cascade": cascade,
        "memory": {"early_exit": memory(early_exit), "baseline": memory(baseline)},
        "layers": {"early_exit": layer_costs(early_exit), "baseline": layer_costs(baseline)},
        "equal": {"early_exit": _compared(early_exit), "baseline": _compared(baseline)},
    }


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
    """Return a row for each layer: segment, name, kind, shapes, mean instructions over the images, and MACs."""
    rows = []
    for number, (name, model) in enumerate(zip(emulated.network.names, emulated.network.models, strict=True)):
        calls = [[count for _, count in cost.calls] for cost in emulated.trace.segments[number]]
        found = layers.read(model, f"segment{number + 1}.tflite").layers
        for layer, operator, count in zip(found, reader.operators(model), np.mean(calls, 0), strict=True):
            rows.append(
                {
                    "segment": name,
                    "layer": layer.name,
                    "kind": layer.name.rpartition("_")[0],
                    "in": shape_text(layer.in_shape),
                    "out": shape_text(layer.out_shape),
                    "instructions": round(count),
                    "macs": operator.macs,
                }
            )
    return rows


def kinds(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Return the sums of instructions and MACs of each kind of layer, most instructions first."""
    names = dict.fromkeys(row["kind"] for row in rows)
    sums = {name: _sum([row for row in rows if row["kind"] == name]) for name in names}
    return dict(sorted(sums.items(), key=lambda item: -item[1]["instructions"]))


def markdown(found: dict[str, Any]) -> str:
    """Return the report as Markdown tables."""
    return "\n".join([*_exits(found), "", *_kinds(found), "", *_memory(found), "", _note(found), ""])


def _exits(found: dict[str, Any]) -> list[str]:
    base = found["baseline"]
    rows = [["INT8 baseline", thousands(base["instructions"]), "", "", ""]]
    for name, entry in found["segments"].items():
        shares = entry["until"] / base["instructions"], entry["macs_until"] / base["macs"]
        rows.append([f"leaves at {name}", thousands(entry["until"]), *map(_percent, shares), ""])
    for name, row in found["cascade"].items():
        shares = 1 / row["speedup"], 1 / row["speedup_macs"]
        speedup = f"{times(row['speedup'])} ({times(row['speedup_macs'])})"
        rows.append([f"**EE ({name})**, mean", thousands(row["instructions"]), *map(_percent, shares), speedup])
    heads = ["emulated Cortex-M4", "instructions", "of the baseline's", "MACs, of the baseline's", "speedup (MACs)"]
    return table(heads, rows)


def _kinds(found: dict[str, Any]) -> list[str]:
    layer_rows, names = found["layers"]["early_exit"], list(found["segments"])
    total = _sum(layer_rows)["instructions"]
    groups = {kind: [row for row in layer_rows if row["kind"] == kind] for kind in kinds(layer_rows)}
    rows = []
    for kind, inside in [*groups.items(), (bold("all"), layer_rows)]:
        entry = _sum(inside)
        segments = [_sum([row for row in inside if row["segment"] == name]) for name in names]
        cells = [thousands(entry["instructions"]), _percent(entry["instructions"] / total)]
        rows.append([kind, *cells, *map(_per_mac, (entry, *segments))])
    return table(["layers", "instructions", "share", "per MAC", *(f"per MAC, {name}" for name in names)], rows)


def _memory(found: dict[str, Any]) -> list[str]:
    networks = found["memory"]["early_exit"], found["memory"]["baseline"]
    rows = [[title, *(thousands(entry[kind][part]) for entry in networks)] for title, (kind, part) in _MEMORY.items()]
    return table(["linked image, bytes", "early-exit network", "baseline"], rows)


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


def _percent(share: float) -> str:
    return f"{percent(share, 1)} %"


def _per_mac(entry: dict[str, int]) -> str:
    return f"{entry['instructions'] / entry['macs']:.2f}" if entry["macs"] else NOTHING


def _compared(emulated: Emulated) -> int:
    """Return the number of logits and features that were compared."""
    return int(emulated.trace.logits.size + sum(features.size for features in emulated.trace.features))
