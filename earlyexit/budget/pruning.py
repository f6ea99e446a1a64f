"""Report what pruning removed: channels, and the costs of each part of a network before and after, on blueprints."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

from earlyexit.budget import cycles
from earlyexit.budget.blueprint import blueprint
from earlyexit.common.markdown import NOTHING, bold, millions, percent, table, thousands
from earlyexit.model.architecture import HEAD_STRIDES, Architecture
from earlyexit.tflite.reader import Operator, operators

COSTS = ("macs", "weights", "cycles")
NETWORKS = {"baseline": "Baseline", "early_exit": "Early-exit network"}
_WHY = {
    "multiple": "keep the width a multiple of {multiple}",
    "shortcut": "belong to a shortcut whose other side varies",
    "padding": "are padded with zeros, so that what follows differs at the border",
    "reader": "are read by another layer too, such as an exit, for which they vary",
}


def report(
    before: Mapping[str, Architecture], after: Mapping[str, Architecture], channels: Mapping[str, Any], *, per_channel: bool
) -> dict[str, Any]:
    """Return the report on both networks.

    Args:
        before, after: the architecture of "baseline" and "early_exit", before and after pruning.
        channels: for each network what the prune stage wrote: `exact`, `multiple`, and an entry for each group of
            channels that stay or go together.
        per_channel: as `blueprint` takes it.
    """
    return {
        "unit": "multiply-accumulates, trained numbers, estimated cycles of a Cortex-M4, bytes of flash (estimated)",
        **{name: _network(before[name], after[name], channels[name], per_channel) for name in NETWORKS},
    }


def removed(network: Mapping[str, Any]) -> int:
    """Return the number of channels that were removed from a network of the report."""
    return sum(group["channels"] - group["left"] for group in network["groups"])


def markdown(found: Mapping[str, Any]) -> str:
    """Return the report as Markdown: a sentence for a network that lost nothing, else its tables."""
    return "\n".join(line for name, title in NETWORKS.items() for line in _lines(title, found[name]))


def _network(before: Architecture, after: Architecture, channels: Mapping[str, Any], per_channel: bool) -> dict[str, Any]:
    old, new = blueprint(before, per_channel=per_channel), blueprint(after, per_channel=per_channel)
    costs = zip(_parts(before, old).items(), _parts(after, new).values(), strict=True)
    return {
        **channels,
        "parts": [{"part": part, "before": was, "after": is_} for (part, was), is_ in costs],
        "flash": {"before": sum(map(len, old)), "after": sum(map(len, new))},
    }


def _parts(architecture: Architecture, models: Sequence[bytes]) -> dict[str, dict[str, float]]:
    """Return the costs of each part of a network, by the parts' names in order of execution."""
    return {part: _costs(found) for part, found in _operators_by_part(architecture, models)}


def _operators_by_part(
    architecture: Architecture, models: Sequence[bytes]
) -> Iterator[tuple[str, list[Operator]]]:
    counts = {"stem": 1, "last": 1}
    counts |= {block.name: 2 + (block.expansion > 1) + block.shortcut for block in architecture.blocks}
    for names, classifier, model in zip(architecture.segment_blocks, architecture.outputs, models, strict=True):
        found = operators(model)
        for name in names:
            yield name, found[: counts[name]]
            found = found[counts[name] :]
        yield classifier, found


def _costs(found: Sequence[Operator]) -> dict[str, float]:
    return {
        "macs": sum(operator.macs for operator in found),
        "weights": sum(prod(tensor.shape) for operator in found if operator.macs for tensor in operator.inputs[1:]),
        "cycles": round(cycles.estimate(found)),
    }
