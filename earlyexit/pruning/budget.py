"""Choose the channels that matter least for what they cost, until a network fits a budget."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from earlyexit.model.architecture import Architecture
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.pruning.layers import Layer, layers
from earlyexit.pruning.ranges import Range
from earlyexit.pruning.slicing import sliced, sliced_architecture

Cost = Callable[[Architecture], float]


def narrowed(
    network: EarlyExitNetwork, importance: Mapping[str, Tensor], limit: float, multiple: int, cost: Cost
) -> EarlyExitNetwork:
    """Return `network` without the channels that matter least for what they cost, at a cost of at most `limit`.

    Channels go in lots that leave a group's width a multiple of `multiple`, in the order of importance divided by what
    the lot saves in the whole network. Every group keeps one multiple.

    Args:
        network: without exits, its batch norm not folded. Stays as it is.
        importance: of each channel of each group, (C,).
        limit: the highest cost.
        multiple: of which each width that shrinks becomes a multiple.
        cost: of an image, by a network of that architecture.

    Raises:
        ValueError: the smallest network that `multiple` allows costs more; says how much.
    """
    found = layers(network)
    lots = _lots(network.architecture, found, importance, multiple, cost)

    def left(count: int) -> dict[str, Tensor]:
        return _left(importance, lots[:count])

    def costs(count: int) -> float:
        return cost(sliced_architecture(network.architecture, found, left(count)))

    least = costs(len(lots))
    if least > limit:
        raise ValueError(
            f"the smallest network whose widths are multiples of {multiple} costs {least:,.0f}, more than {limit:,.0f}"
        )
    count = bisect_left(range(len(lots)), True, key=lambda removed: costs(removed) <= limit)
    # What a channel that varies gave to the next layers is lost; training has to make up for it.
    return sliced(network, [replace(layer, given=_nothing(layer.given)) for layer in found], left(count))


@dataclass(frozen=True)
class _Lot:
    """Channels of one group that go together, and their importance divided by what the network saves without them."""

    group: str
    channels: Tensor
    value: float


def _lots(
    whole: Architecture, found: Sequence[Layer], importance: Mapping[str, Tensor], multiple: int, cost: Cost
) -> list[_Lot]:
    """Return all lots, the first to go first."""
    widths = {name: range(len(values)) for name, values in importance.items()}
    full = cost(whole)

    def saving(name: str) -> float:
        """Return what a channel of the group costs."""
        width = len(widths[name]) - multiple
        return (full - cost(sliced_architecture(whole, found, {**widths, name: range(width)}))) / multiple

    lots = [
        _Lot(name, channels, float(values[channels].mean()) / saving(name))
        for name, values in importance.items()
        if len(values) > multiple
        for channels in _ascending(values, multiple)
    ]
    return sorted(lots, key=lambda lot: lot.value)


def _ascending(importance: Tensor, multiple: int) -> Iterator[Tensor]:
    """Yield the lots of a group, the least important first; the last multiple of the channels is in none."""
    order = importance.argsort(stable=True)
    first = len(order) % multiple or multiple
    yield order[:first]
    yield from torch.split(order[first : len(order) - multiple], multiple)


def _left(importance: Mapping[str, Tensor], gone: Sequence[_Lot]) -> dict[str, Tensor]:
    stay = {name: torch.ones(len(values), dtype=torch.bool) for name, values in importance.items()}
    for lot in gone:
        stay[lot.group][lot.channels] = False
    return {name: flags.nonzero().flatten() for name, flags in stay.items()}


def _nothing(given: Range) -> Range:
    return Range(torch.zeros_like(given.centre), torch.zeros_like(given.radius))
