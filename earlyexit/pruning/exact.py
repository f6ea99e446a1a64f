"""Remove the channels that have one value for every image, so that no answer changes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from earlyexit.model.network import EarlyExitNetwork
from earlyexit.pruning.layers import LOGITS, Layer, layers
from earlyexit.pruning.slicing import sliced

REASONS = ("multiple", "shortcut", "padding", "reader")
"""Why a channel stays although a layer makes it constant.

multiple: the width would be no multiple of what was asked for.
shortcut: another output that a shortcut adds to it varies.
padding: a depthwise convolution pads it with zeros, so what follows is not the same at the border.
reader: a layer after it varies, such as an exit.
"""


@dataclass(frozen=True)
class Group:
    """Channels that stay or go together; see `layers.Layer`.

    Attributes:
        name: of the group.
        zero, constant: channels that all readers see as 0, and those that they see as other constants; bool (C,).
        kept: numbers of the channels that stay, ascending.
        reasons: the channels that stay although a layer makes them constant, by the words of `REASONS`.
    """

    name: str
    zero: Tensor
    constant: Tensor
    kept: Tensor
    reasons: dict[str, int]

    @property
    def removed(self) -> int:
        """Number of channels that go."""
        return len(self.zero) - len(self.kept)

    def entry(self) -> dict[str, Any]:
        """Return the numbers of channels, as JSON values."""
        gone = torch.ones_like(self.zero)
        gone[self.kept] = False
        return {
            "group": self.name,
            "channels": len(gone),
            "zero": int((self.zero & gone).sum()),
            "constant": int((self.constant & gone).sum()),
            "left": len(self.kept),
            "kept": self.reasons,
        }


def prune(network: EarlyExitNetwork, multiple: int) -> tuple[EarlyExitNetwork, list[Group]]:
    """Return `network` without the channels that have one value for every image, and what became of each group.

    A channel goes if every layer that reads it, depthwise convolutions apart, sees one value at every position. That
    value times its weights moves into the mean of the reader's batch norm, or into the bias of a linear layer. Where
    nothing goes, the network itself is returned.

    Args:
        network: in any mode; its batch norm not folded. Stays as it is.
        multiple: of which each width that shrinks stays a multiple.

    Raises:
        ValueError: a classifier gives the same answer for every image; names it, and the layer from which on nothing
            varies.
    """
    found = layers(network)
    _check_answers(found, network.architecture.outputs)
    groups = [
        _group(name, found, multiple) for name in dict.fromkeys(layer.makes for layer in found if layer.makes != LOGITS)
    ]
    if all(len(group.kept) == len(group.zero) for group in groups):
        return network, groups
    kept = {group.name: group.kept for group in groups}
    return sliced(network, found, kept), groups


def _check_answers(found: Sequence[Layer], classifiers: Iterable[str]) -> None:
    names = iter(classifiers)
    dead: Layer | None = None
    for layer in found:
        dead = (dead or layer) if layer.fixed else None
        if layer.makes != LOGITS:
            continue
        name = next(names)
        if dead is not None:
            raise ValueError(
                f"{dead.name}: its {len(dead.made.centre)} outputs are the same for every image, so {name} always "
                "gives the same answer; train the network again, at a lower learning rate or from other weights"
            )


def _group(name: str, found: Iterable[Layer], multiple: int) -> Group:
    inside = [layer for layer in found if name in (layer.reads, layer.makes)]
    readers = [layer.given for layer in inside if layer.reads == name and not layer.depthwise]
    constant = _all(given.constant for given in readers)
    zero = constant & _all(given.centre == 0 for given in readers)
    varying = int((~constant).sum())
    width = min(-(-max(varying, 1) // multiple) * multiple, len(constant))
    spare = constant.nonzero().flatten()[: width - varying]
    kept = torch.cat([(~constant).nonzero().flatten(), spare]).sort().values
    makers = [layer.made.constant for layer in inside if layer.makes == name and not layer.depthwise]
    between = [layer.made.constant for layer in inside if layer.depthwise]
    always, ever = _all(makers), ~_all(~made for made in makers)
    reasons = {
        "multiple": len(spare),
        "shortcut": int((~constant & ever & ~always).sum()),
        "padding": int((~constant & always).sum()),
        "reader": int((~constant & ~ever & ~_all(~made for made in [*between, torch.zeros_like(zero)])).sum()),
    }
    return Group(name, zero, constant & ~zero, kept, reasons)


def _all(flags: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(flags)).all(0)
