"""Draw where images leave, at the percentiles of Table I."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from earlyexit.evaluation.per_image import Evaluation
from earlyexit.paper import TABLE1
from earlyexit.plots import style
from earlyexit.policy import decision
from earlyexit.policy.thresholds import Thresholds


def shares(evaluation: Evaluation, thresholds: Thresholds, names: Sequence[str]) -> pd.DataFrame:
    """Return the share of val images that leave at each classifier.

    Args:
        evaluation: logits on the val split.
        thresholds: from the calibration split, with the percentiles of Table I.
        names: of the classifiers, the final one's last.

    Returns:
        a row for each percentile of Table I. Columns: percentile, one for each classifier, early_exit_rate,
        paper_early_exit_rate.
    """
    rows = []
    for percentile in thresholds.table:
        decisions = decision.decide(evaluation.int8_early_exit, thresholds.margins[percentile])
        found = decision.exit_shares(decisions.exits, len(names))
        rows.append(
            {
                "percentile": percentile,
                **dict(zip(names, found, strict=True)),
                "early_exit_rate": 1 - found[-1],
                "paper_early_exit_rate": TABLE1.get(f"p{percentile}", {}).get("early_exit_rate"),
            }
        )
    return pd.DataFrame(rows)


@style.styled
def draw(table: pd.DataFrame, names: Sequence[str], n: int) -> Figure:
    """Draw the table of `shares` over `n` val images."""
    figure = style.figure(1.6 + 0.62 * len(table))
    axes = figure.subplots()
    left = pd.Series(0.0, index=table.index)
    for name, colour in style.colours(names).items():
        bars = axes.barh(table.index, table[name], left=left, height=0.56, color=colour, label=name)
        text = [style.share(share) if share >= 0.04 else "" for share in table[name]]
        axes.bar_label(bars, text, label_type="center", color=style.ink(colour), fontsize=8.5)
        left += table[name]
    paper = table.dropna(subset="paper_early_exit_rate")
    if len(paper):
        rates = paper["paper_early_exit_rate"].astype(float)
        axes.plot(rates, paper.index + 0.38, "^", ms=8, color=style.PAPER, label="paper, early")
    for place, ours in table["early_exit_rate"].items():
        axes.annotate(f"{style.share(ours, 1)} early", (1.01, place), va="center", annotation_clip=False, fontsize=8.5)
    axes.set_yticks(table.index, [f"p{percentile}" for percentile in table["percentile"]])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set(xlim=(0, 1), xlabel="Share of val images", ylabel="Percentile")
    axes.xaxis.set_major_formatter(style.percent)
    style.legend(figure, axes, lambda label: label in names, min(len(names) + 1, 6))
    style.headline(
        axes, "Where images leave", f"INT8 cascade, n = {n:,} val images; thresholds from calibration images"
    )
    return figure
