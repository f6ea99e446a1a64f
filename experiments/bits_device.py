"""What networks of eight and of four bits cost on the device, side by side: memory, cycles, and what was compared."""

from collections.abc import Sequence
from typing import Any

from earlyexit.common.markdown import bold, table, thousands, times
from earlyexit.emulation.report import kinds, linked
from experiments.finished import Experiment

_BASELINE = "baseline"


def entry(title: str, experiment: Experiment) -> dict[str, Any]:
    """Return what the reports of an experiment say about the costs of its networks.

    Args:
        title: of the early-exit network, as a head of columns.
        experiment: of which the stages `memory` and `emulate` have run.

    Returns:
        title and seed; tflm: flash and SRAM of each segment's file, of the network, and of the baseline; linked: bytes
        in the image of the C library; cycles: until each classifier, and of the baseline; kinds: number and cycles of
        the layers of each kind; compared: layers, images, and logits and features that equalled TFLM's.
    """
    memory, emulated = experiment.report("memory.json"), experiment.report("emulated.json")
    network, whole = memory["early_exit"], memory[_BASELINE]
    files = {
        f"segment {number} ({name})": {"flash": file["flash"], "sram": file["arena"]["total"] + file["features"]}
        for number, (name, file) in enumerate(network["segments"].items(), start=1)
    }
    rows = emulated["layers"]["early_exit"]
    return {
        "title": title,
        "seed": experiment.param("train.seed"),
        "tflm": {
            **files,
            "early-exit network": {"flash": network["flash"], "sram": network["sram"]},
            _BASELINE: {"flash": whole["flash"], "sram": whole["sram"]},
        },
        "linked": emulated["memory"]["early_exit"],
        "cycles": {
            **{f"leaves at {name}": segment["cycles_until"] for name, segment in emulated["segments"].items()},
            _BASELINE: emulated[_BASELINE]["cycles"],
        },
        "kinds": {
            kind: {"layers": sum(row["kind"] == kind for row in rows), "cycles": sums["cycles"]}
            for kind, sums in kinds(rows).items()
        },
        "compared": {
            "layers": len(rows) + len(emulated["layers"][_BASELINE]),
            "images": emulated["images"],
            "outputs": sum(emulated["equal"].values()),
        },
    }


def markdown(entries: Sequence[dict[str, Any]]) -> str:
    """Return the entries as Markdown tables, with columns for each; ratios of cycles are to the first entry's."""
    tables = (
        _files(entries),
        linked({one["title"]: one["linked"] for one in entries}),
        _cycles(entries),
        _kinds(entries),
    )
    compared = "; ".join(
        f"{one['title']}: {one['compared']['layers']} layers (both networks), {one['compared']['images']} images, "
        f"{thousands(one['compared']['outputs'])} logits and features"
        for one in entries
    )
    seeds = ", ".join(dict.fromkeys(str(one["seed"]) for one in entries))
    note = (
        f"Seed {seeds}. Memory in bytes; cycles are estimated, of an emulated Cortex-M4, mean over the images. The C "
        f"library's answers equalled those of TFLM's kernels in every byte: {compared}."
    )
    return "\n".join([*(line for lines in tables for line in (*lines, "")), note, ""])


def _files(entries: Sequence[dict[str, Any]]) -> list[str]:
    rows = [
        [name, *(thousands(one["tflm"].get(name, {}).get(kind)) for one in entries for kind in ("flash", "sram"))]
        for name in _names(entries, "tflm")
    ]
    heads = [f"{kind}, {one['title']}" for one in entries for kind in ("flash", "SRAM")]
    return table(["TFLM, bytes", *heads], rows)


def _cycles(entries: Sequence[dict[str, Any]]) -> list[str]:
    first, *others = entries
    rows = []
    for name in _names(entries, "cycles"):
        before = first["cycles"].get(name)
        row = [name, thousands(before)]
        for one in others:
            now = one["cycles"].get(name)
            row += [thousands(now), times(now / before if now and before else None)]
        rows.append(row)
    heads = [head for one in others for head in (one["title"], "ratio")]
    return table(["estimated cycles", first["title"], *heads], rows)


def _kinds(entries: Sequence[dict[str, Any]]) -> list[str]:
    rows = [
        [name, *(thousands(one["kinds"].get(name, {}).get(key)) for one in entries for key in ("layers", "cycles"))]
        for name in _names(entries, "kinds")
    ]
    sums = [sum(kind[key] for kind in one["kinds"].values()) for one in entries for key in ("layers", "cycles")]
    heads = [f"{key}, {one['title']}" for one in entries for key in ("number", "cycles")]
    return table(["layers of", *heads], [*rows, [bold("all"), *map(thousands, sums)]])


def _names(entries: Sequence[dict[str, Any]], part: str) -> list[str]:
    """Return the names in a part of any entry, in order, with the baseline last."""
    names = dict.fromkeys(name for one in entries for name in one[part])
    return sorted(names, key=lambda name: name == _BASELINE)
