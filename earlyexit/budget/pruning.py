"""Report what pruning removed: channels, and the costs of each part of a network before and after, on blueprints."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

from earlyexit.budget import cycles
from earlyexit.budget.blueprint import blueprint
from earlyexit.common.markdown import NOTHING, bold, millions, table, thousands
from earlyexit.model.architecture import HEAD_STRIDES, Architecture
from earlyexit.quantization.recipe import WeightFormat
from earlyexit.tflite.reader import Operator, operators

NETWORKS = {"baseline": "baseline", "early_exit": "early-exit network"}
COSTS = ("macs", "weights", "cycles")
_WHY = {
    "multiple": "keep a width a multiple of {multiple}",
    "shortcut": "are one side of a shortcut whose other side varies",
    "padding": "are padded with zeros, so what follows is not the same at the border",
    "reader": "are also read by a layer for which they vary, such as an exit",
}


def report(
    before: Mapping[str, Architecture],
    after: Mapping[str, Architecture],
    channels: Mapping[str, Mapping[str, Any]],
    weights: WeightFormat,
    *,
    shrunk: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the report on both networks, "baseline" and "early_exit".

    Args:
        before, after: the architecture of each network before and after pruning.
        channels: for each network what the prune stage wrote: `exact`, `multiple`, and an entry for each group of
            channels that stay or go together.
        weights: their format.
        shrunk: what the shrink stage wrote on the baseline; None without `prune.target`.
    """
    given = {"baseline": shrunk, "early_exit": None}
    return {
        name: {"shrunk": given[name], **_network(before[name], after[name], channels[name], weights)}
        for name in NETWORKS
    }


def changed(network: Mapping[str, Any]) -> bool:
    """Return whether a network of the report lost channels."""
    return any(part["before"] != part["after"] for part in network["parts"])


def _removed(network: Mapping[str, Any]) -> int:
    """Return the number of channels with one value for every image that went."""
    return sum(group["channels"] - group["left"] for group in network["groups"])


def markdown(found: Mapping[str, Any]) -> str:
    """Return the report as Markdown: a sentence on a network that lost nothing, a table of one that did."""
    return "\n".join(line for name, title in NETWORKS.items() for line in _lines(title, found[name]))


def _network(
    before: Architecture, after: Architecture, channels: Mapping[str, Any], weights: WeightFormat
) -> dict[str, Any]:
    old, new = blueprint(before, weights), blueprint(after, weights)
    parts = zip(_parts(before, old), _parts(after, new), strict=True)
    return {
        **channels,
        "parts": [{"part": name, "before": was, "after": now} for (name, was), (_, now) in parts],
        "flash": {"before": sum(map(len, old)), "after": sum(map(len, new))},
    }


def _parts(architecture: Architecture, models: Sequence[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name, the channels and the costs of each part of a network, in order of execution."""
    widths = architecture.widths
    channels = {"stem": [widths.stem], "last": [widths.last]}
    channels |= {block.name: [block.hidden, block.channels] for block in architecture.blocks}
    if architecture.head in HEAD_STRIDES:
        channels |= {
            name: [count] for name, count in zip(architecture.outputs, architecture.head_channels, strict=False)
        }
    layers = {"stem": 1, "last": 1}
    layers |= {block.name: 2 + (block.expansion > 1) + block.shortcut for block in architecture.blocks}
    for blocks, classifier, model in zip(architecture.segment_blocks, architecture.outputs, models, strict=True):
        left = operators(model)
        for name in blocks:
            yield name, {"channels": channels[name], **_costs(left[: layers[name]])}
            left = left[layers[name] :]
        yield classifier, {"channels": channels.get(classifier, []), **_costs(left)}


def _costs(found: Sequence[Operator]) -> dict[str, int]:
    weighted = [operator for operator in found if operator.macs]
    return {
        "macs": sum(operator.macs for operator in weighted),
        "weights": sum(prod(tensor.shape) for operator in weighted for tensor in operator.inputs[1:]),
        "cycles": round(cycles.estimate(found)),
    }


def _lines(title: str, network: Mapping[str, Any]) -> Iterator[str]:
    count, groups, shrunk = _removed(network), network["groups"], network["shrunk"]
    if shrunk:
        share, target, unit = 100 * shrunk["left"], shrunk["target"], shrunk["cost"]
        yield (
            f"The {title}: {shrunk['removed']:,} of {shrunk['channels']:,} channels are removed by importance "
            f"(`prune.importance`: {shrunk['importance']}). {share:.1f} % of its {unit} are left "
            f"(`prune.target`: {target:g})."
        )
        yield ""
    if not network["exact"]:
        yield f"The {title}: `prune.exact` is false, so no channel was looked at for being the same for every image."
        yield ""
        if changed(network):
            yield from _table(network)
        return
    stay = {reason: sum(group["kept"][reason] for group in groups) for reason in _WHY}
    if count:
        zero, constant = (sum(group[kind] for group in groups) for kind in ("zero", "constant"))
        total = sum(group["channels"] for group in groups)
        kinds = f"{zero:,} always 0, {constant:,} other constants"
        yield f"The {title}: {count:,} of {total:,} channels are removed, {kinds}."
    else:
        yield f"The {title}: no channel has one value for every image and can be removed."
    yield ""
    if changed(network):
        yield from _table(network)
    for reason, channels in stay.items():
        if channels:
            where = ", ".join(group["group"] for group in groups if group["kept"][reason])
            yield f"{channels:,} constant channels stay ({where}): they {_WHY[reason].format(**network)}."
            yield ""


def _table(network: Mapping[str, Any]) -> Iterator[str]:
    rows = [_row(part["part"], part["before"], part["after"]) for part in network["parts"]]
    sums = [{key: sum(part[when][key] for part in network["parts"]) for key in COSTS} for when in ("before", "after")]
    rows.append([bold(cell) for cell in _row("all", *({"channels": [], **total} for total in sums))])
    heads = ["part", "channels", "left", "MACs (M)", "left", "weights", "left", "cycles (M)", "left"]
    yield from table(heads, rows)
    yield ""
    before, after = (thousands(network["flash"][when]) for when in ("before", "after"))
    yield (
        f"Flash: {before} bytes before, {after} after. Channels: of the depthwise convolution and of the output. Flash "
        "and the cycles of a Cortex-M4 are estimated."
    )
    yield ""


def _row(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    pairs = zip(_cells(before), _cells(after), strict=True)
    return [name, *(cell for pair in pairs for cell in pair)]


def _cells(one: Mapping[str, Any]) -> list[str]:
    return [_channels(one), millions(one["macs"], 3), thousands(one["weights"]), millions(one["cycles"], 3)]


def _channels(one: Mapping[str, Any]) -> str:
    return " / ".join(map(str, one["channels"])) or NOTHING
