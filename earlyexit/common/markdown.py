"""Markdown tables."""

from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], labels: int = 1) -> list[str]:
    """Return the lines of a table: the first `labels` columns hold words, the others figures."""
    rule = "|" + "---|" * labels + "---:|" * (len(heads) - labels)
    return [_line(heads), rule, *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
