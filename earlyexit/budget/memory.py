"""What a device needs: flash for the .tflite files, SRAM for TFLM's arena and for what lies between segments."""

from dataclasses import asdict
from math import prod
from typing import Any

from earlyexit.paper import MEMORY
from earlyexit.tflite import arena
from earlyexit.tflite.deployment import Deployment

LINKED = {"early-exit network": "early_exit", "baseline": "baseline"}


def report(network: Deployment, baseline: Deployment, linked: dict[str, Any]) -> dict[str, Any]:
    """Measure both networks as TFLM runs them; all figures in bytes.

    A device reuses one arena for all segments, so the peak is the largest segment's; what a segment hands to the next
    is kept beside the arena while the next one starts. `linked` is what the emulate stage found in the linked images of
    the C library.
    """
    segments = [_measure(model) for model in network.models]
    for entry, segment in zip(segments, network.segments(), strict=True):
        entry["features"] = prod(segment.features_shape or (0,))
    whole = [_measure(model) for model in baseline.models]
    return {
        "unit": "bytes",
        "early_exit": {
            "segments": dict(zip(network.names, segments, strict=True)),
            "flash": sum(entry["flash"] for entry in segments),
            "sram": _peak(segments),
        },
        "baseline": {**whole[0], "sram": _peak(whole)},
        "linked": linked,
        "paper": {**MEMORY, "note": "its 260 KB and 67 KB, estimated"},
    }


def check(found: dict[str, Any], network: Deployment, flash_limit: int, sram_limit: int) -> None:
    """Hold the report against the device's budget.

    Raises:
        ValueError: naming the limit, the figure, and the layer at which the memory peaks.
    """
    early_exit = found["early_exit"]
    wrong = []
    if early_exit["flash"] > flash_limit:
        name, entry = max(early_exit["segments"].items(), key=lambda item: item[1]["flash"])
        wrong.append(
            f"flash: {early_exit['flash']:,} bytes of .tflite files, memory.flash_limit is {flash_limit:,}; "
            f"the largest is the segment of {name}, {entry['flash']:,} bytes"
        )
    if early_exit["sram"] > sram_limit:
        entries = early_exit["segments"]
        name = max(entries, key=lambda key: _total(entries[key]))
        peak = arena.peak(network.models[network.names.index(name)])
        wrong.append(
            f"SRAM: {early_exit['sram']:,} bytes, memory.sram_limit is {sram_limit:,}; "
            f"the segment of {name} peaks at {peak}"
        )
    if wrong:
        raise ValueError("; ".join(wrong))


def markdown(found: dict[str, Any]) -> str:
    """Return the report as a Markdown table."""
    lines = [
        "| file | flash | arena head | arena tail | features kept | SRAM |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    early_exit, baseline, paper = found["early_exit"], found["baseline"], found["paper"]
    for number, (name, entry) in enumerate(early_exit["segments"].items(), start=1):
        lines.append(_line(f"segment {number} ({name})", entry, _total(entry)))
    lines.append(f"| **early-exit network** | **{early_exit['flash']:,}** | | | | **{early_exit['sram']:,}** |")
    lines.append(_line("baseline", {**baseline, "features": 0}, baseline["sram"]))
    lines.append(f"| paper (estimated) | {paper['flash']:,} | | | | {paper['sram']:,} |")
    lines += ["", "Bytes. Arena as TFLM measures it: head for activations, tail for what lives as long as the model."]
    lines += [
        "",
        "| C library, linked for a Cortex-M4 | constants | code | flash | arena | state | stack | RAM |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *(_linked(name, found["linked"][key]) for name, key in LINKED.items()),
        "",
        "Bytes in the image, without the application around it; stack: the deepest that the emulated runs reached.",
    ]
    return "\n".join(lines) + "\n"


def _measure(model: bytes) -> dict[str, Any]:
    return {"flash": len(model), "arena": asdict(arena.measure(model)), "features": 0}


def _peak(entries: list[dict[str, Any]]) -> int:
    return max(_total(entry) for entry in entries)


def _total(entry: dict[str, Any]) -> int:
    return int(entry["arena"]["total"] + entry["features"])


def _line(name: str, entry: dict[str, Any], total: int) -> str:
    use = entry["arena"]
    return f"| {name} | {entry['flash']:,} | {use['head']:,} | {use['tail']:,} | {entry['features']:,} | {total:,} |"


def _linked(name: str, entry: dict[str, Any]) -> str:
    flash, ram = entry["flash"], entry["ram"]
    code = flash["network_code"] + flash["kernels"]
    figures = [
        flash["network_constants"],
        code,
        flash["total"],
        *(ram[key] for key in ("arena", "state", "stack", "total")),
    ]
    return f"| {name} | " + " | ".join(f"{figure:,}" for figure in figures) + " |"
