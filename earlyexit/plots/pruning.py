"""Draw what pruning removed, part by part."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from earlyexit.plots import style

_TITLES = {"baseline": "Baseline", "early_exit": "Early-exit network"}


def parts(found: Mapping[str, Any]) -> pd.DataFrame:
    """Return a row for each part of each network that lost channels, from reports/prune.json; none where none did.

    Returns:
        columns: network, part, and macs, weights, cycles before and after pruning ("macs_before", "macs_after", ...).
    """
    costs = ("macs", "weights", "cycles")
    columns = [f"{cost}_{when}" for cost in costs for when in ("before", "after")]
    rows = [
        [name, row["part"], *(row[when][cost] for cost in costs for when in ("before", "after"))]
        for name in _TITLES
        for row in found[name]["parts"]
        if any(part["before"] != part["after"] for part in found[name]["parts"])
    ]
    return pd.DataFrame(rows, columns=["network", "part", *columns])


@style.styled
def draw(table: pd.DataFrame) -> Figure:
    """Draw the rows of `parts`: multiply-accumulates of each part before and after."""
    networks = list(table.groupby("network", sort=False))
    figure = style.figure(2.9 * len(networks) + 0.3)
    for axes, (name, rows) in zip(figure.subplots(len(networks), squeeze=False)[:, 0], networks, strict=True):
        places = range(len(rows))
        axes.bar(places, rows["macs_before"], width=0.8, color="0.85", label="before")
        axes.bar(places, rows["macs_after"], width=0.5, color=style.OURS, label="after")
        axes.set_xticks(places, rows["part"].str.removeprefix("block"), rotation=45)
        axes.grid(visible=False, axis="x")
        axes.set(ylabel="Multiply-accumulates")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1e6:g} M"))
        axes.legend()
        before, after = rows["macs_before"].sum(), rows["macs_after"].sum()
        subtitle = f"{before / 1e6:.2f} M before, {after / 1e6:.2f} M after, by block"
        style.headline(axes, f"{_TITLES[str(name)]} without the channels that were removed", subtitle)
    return figure
