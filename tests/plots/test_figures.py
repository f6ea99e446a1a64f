"""That every figure can be drawn, from any number of exits and percentiles, and to the same bytes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from earlyexit.evaluation.frontier import curve as over_percentiles
from earlyexit.evaluation.per_image import Evaluation
from earlyexit.plots import confidence, costs, exit_share, frontier, learning_curves, policies, quantization, style
from tests.plots import results


def figures(
    tmp_path: Path, exits: int, table: tuple[int, ...], evaluation: Evaluation
) -> dict[str, Callable[[], Figure]]:
    thresholds, timed, names, scales = (
        results.thresholds(exits, table),
        results.latency(exits),
        results.names(exits),
        results.scales(exits),
    )
    cost, choices = results.costs(exits), results.policies(exits)
    n = len(evaluation.labels)
    columns = {f"{split}/{name}": [0.6, 0.7] for split in ("train", "calibration") for name in names}
    results.write_logs(tmp_path, {**columns, "train/loss": [0.7, 0.5]})
    logs = learning_curves.read(dict.fromkeys(learning_curves.STAGES, tmp_path))
    curve = pd.DataFrame(over_percentiles(evaluation, thresholds, cost))
    points = frontier.references(evaluation, curve, thresholds.table)
    return {
        "frontier": lambda: frontier.draw(curve, points, n),
        "policies": lambda: policies.draw(policies.trades(choices, thresholds, evaluation, cost), choices, n),
        "exit_share": lambda: exit_share.draw(exit_share.shares(evaluation, thresholds, names), names, n),
        "confidence": lambda: confidence.draw(confidence.histograms(evaluation, names, scales), thresholds, scales, n),
        "learning_curves": lambda: learning_curves.draw(logs, names, 80, 20),
        "quantization": lambda: quantization.draw(quantization.accuracies(evaluation), n),
        "latency": lambda: costs.draw_measured(costs.measured(names, cost), timed),
    }


def same_margins(evaluation: Evaluation) -> Evaluation:
    """Every exit sees a person in every image, and is never surer of one than of another."""
    logits = np.zeros_like(evaluation.int8_early_exit)
    logits[..., 1] = 3
    return replace(evaluation, int8_early_exit=logits)


def test_every_figure_becomes_a_small_file(tmp_path: Path) -> None:
    for draw in figures(tmp_path, 3, (10, 50, 75, 95, 96), results.evaluation()).values():
        path = tmp_path / "figure.png"
        style.save_figure(path, draw())
        with Image.open(path) as picture:
            assert picture.width == round(style.WIDTH * style.DPI)
            assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 20
        assert path.stat().st_size < 120_000


@pytest.mark.parametrize("evaluation", [results.evaluation(exits=1), same_margins(results.evaluation(n=2, exits=1))])
def test_one_exit_and_images_all_alike_can_be_drawn(tmp_path: Path, evaluation: Evaluation) -> None:
    for draw in figures(tmp_path, 1, (50,), evaluation).values():
        draw().draw_without_rendering()


def test_bytes_depend_on_the_content_alone(tmp_path: Path) -> None:
    drawn = figures(tmp_path, 2, (50, 75), results.evaluation(exits=2))
    for draw in (drawn["frontier"], drawn["learning_curves"]):
        style.save_figure(tmp_path / "one.png", draw())
        with matplotlib.rc_context({"font.size": 20, "savefig.dpi": 30, "lines.linewidth": 9, "axes.grid": False}):
            style.save_figure(tmp_path / "two.png", draw())
        assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as picture:
        assert set(picture.info) <= {"dpi"}


def test_a_process_keeps_its_settings(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    figures(tmp_path, 1, (50,), results.evaluation(exits=1))["quantization"]()
    assert dict(matplotlib.rcParams) == before


def test_thresholds_and_bars_are_where_they_belong() -> None:
    evaluation, thresholds = results.evaluation(exits=1), results.thresholds(1, (50, 95))
    bins = confidence.histograms(evaluation, ["exit1", "final"], [0.05, 0.05])
    axes = confidence.draw(bins, thresholds, [0.05, 0.05], 60).axes[0]
    lines = sorted(float(np.asarray(line.get_xdata())[0]) for line in axes.lines)
    assert lines == pytest.approx([0.05 * (thresholds.margins[p][0] + 1) for p in (50, 95)])
    heights = sum(bar.get_height() for bar in axes.patches)  # type: ignore[attr-defined]
    assert heights == 60


def test_tables_name_what_is_missing(tmp_path: Path) -> None:
    style.save_table(tmp_path / "table.csv", pd.DataFrame({"a": [1, 2], "b": [1 / 3, np.nan]}))
    assert (tmp_path / "table.csv").read_text() == "a,b\n1,0.333333\n2,NaN\n"


def test_later_classifiers_are_darker() -> None:
    for count in (2, 4, 9):
        shades = [sum(matplotlib.colors.to_rgb(c)) for c in style.colours(results.names(count)).values()]
        assert shades == sorted(shades, reverse=True)
