"""Markdown tables, and numbers as they stand in their cells."""

from collections.abc import Iterable, Sequence

NOTHING = "-"
"""The cell of a number that does not exist."""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], labels: int = 1) -> list[str]:
    """Return the lines of a table: the first `labels` columns hold words, the others numbers."""
    rule = "|" + "---|" * labels + "---:|" * (len(heads) - labels)
    return [_line(heads), rule, *map(_line, rows)]


def bold(cell: str) -> str:
    """Return a cell in bold."""
    return f"**{cell}**"


def percent(share: float | None, digits: int = 2) -> str:
    """Return a share in percent, without the sign."""
    return NOTHING if share is None else f"{100 * share:.{digits}f}"


def percent_within(value: float, low: float, high: float, digits: int = 2) -> str:
    """Return a share and its interval in percent, without the sign."""
    return f"{percent(value, digits)} ({percent(low, digits)} to {percent(high, digits)})"


def times(ratio: float | None) -> str:
    """Return a ratio as in 1.54x."""
    return NOTHING if ratio is None else f"{ratio:.2f}x"


def millions(value: float | None, digits: int = 2) -> str:
    """Return a number in millions."""
    return NOTHING if value is None else f"{value / 1e6:.{digits}f}"


def thousands(value: int | None) -> str:
    """Return an integer with a comma between groups of three digits."""
    return NOTHING if value is None else f"{value:,}"


def _line(cells: Sequence[str]) -> str:
    # An empty cell takes one space, not two.
    return "".join(["|", *(f" {cell} |" if cell else " |" for cell in cells)])
