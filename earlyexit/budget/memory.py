"""Report the memory of the deployed network: with TFLM, and as a linked C library."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from earlyexit.budget import limits
from earlyexit.budget.limits import Footprint
from earlyexit.common.markdown import bold, table, thousands
from earlyexit.paper import MEMORY

LINKED = {"early-exit network": "early_exit", "baseline": "baseline"}


def report(segments: Sequence[Footprint], baseline: Footprint, linked: dict[str, Any]) -> dict[str, Any]:
    """Return the memory of both networks, in bytes.

    Args:
        segments: of the early-exit network.
        baseline: of the network without early exits.
        linked: memory of the linked C libraries, from the report of the emulate stage.
    """
    return {
        "unit": "bytes",
        "early_exit": {
            "segments": {segment.name: _entry(segment) for segment in segments},
            "flash": limits.flash(segments),
            "sram": limits.largest(segments).sram,
        },
        "baseline": {**_entry(baseline), "sram": baseline.sram},
        "linked": linked,
        "paper": {**MEMORY, "note": "its 260 KB and 67 KB, estimated"},
    }


def markdown(found: dict[str, Any]) -> str:
    """Return the report as Markdown tables."""
    early_exit, baseline, paper = found["early_exit"], found["baseline"], found["paper"]
    rows = [
        _cells(f"segment {number} ({name})", entry)
        for number, (name, entry) in enumerate(early_exit["segments"].items(), start=1)
    ]
    flash, sram = thousands(early_exit["flash"]), thousands(early_exit["sram"])
    rows += [
        [bold("early-exit network"), bold(flash), "", "", "", bold(sram)],
        _cells("baseline", baseline),
        ["paper (estimated)", thousands(paper["flash"]), "", "", "", thousands(paper["sram"])],
    ]
    linked = ["C library, linked for a Cortex-M4", "constants", "code", "flash", "arena", "state", "stack", "RAM"]
    lines = [
        *table(["file", "flash", "arena head", "arena tail", "features kept", "SRAM"], rows),
        "",
        "Bytes. Arena as TFLM measures it: head for activations, tail for what lives as long as the model.",
        "",
        *table(linked, [_linked_cells(name, found["linked"][key]) for name, key in LINKED.items()]),
        "",
        "Bytes in the image, without the application around it; stack: the deepest that the emulated runs reached.",
    ]
    return "\n".join(lines) + "\n"


def _entry(footprint: Footprint) -> dict[str, Any]:
    return {"flash": footprint.flash, "arena": asdict(footprint.arena), "features": footprint.kept}


def _cells(name: str, entry: dict[str, Any]) -> list[str]:
    arena, features = entry["arena"], entry["features"]
    numbers = entry["flash"], arena["head"], arena["tail"], features, arena["total"] + features
    return [name, *map(thousands, numbers)]


def _linked_cells(name: str, entry: dict[str, Any]) -> list[str]:
    flash, ram = entry["flash"], entry["ram"]
    code = flash["network_code"] + flash["kernels"]
    numbers = flash["network_constants"], code, flash["total"], ram["arena"], ram["state"], ram["stack"], ram["total"]
    return [name, *map(thousands, numbers)]
