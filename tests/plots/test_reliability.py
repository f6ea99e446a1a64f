from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from earlyexit.evaluation import statistics
from earlyexit.evaluation.per_image import Evaluation
from earlyexit.evaluation.statistics import accuracy
from earlyexit.plots import reliability, style
from earlyexit.policy import decision
from earlyexit.reports import reliability as measures
from tests.plots import results


def table(evaluation: Evaluation) -> pd.DataFrame:
    exits = len(evaluation.int8_early_exit) - 1
    return reliability.bins(evaluation, results.names(exits), results.scales(exits))


def test_bins_hold_every_image_once_where_it_belongs() -> None:
    evaluation = results.evaluation(200)
    bins = table(evaluation)
    assert list(bins["classifier"].unique()) == results.names(3)
    for number, (_, own) in enumerate(bins.groupby("classifier", sort=False)):
        assert len(own) == statistics.BINS
        assert own["images"].sum() == 200
        logits = evaluation.int8_early_exit[number]
        confidence = decision.confidence(decision.margins(logits), results.scales(3)[number])
        right = logits.argmax(1) == evaluation.labels
        for row in own.to_dict("records"):
            inside = (row["confidence_low"] < confidence) & (confidence <= row["confidence_high"])
            inside |= (confidence == 0.5) & (row["confidence_low"] == 0.5)
            assert (row["images"], row["right"]) == (inside.sum(), right[inside].sum())
            found = [row[key] for key in ("accuracy", "accuracy_low", "accuracy_high", "confidence")]
            if row["images"]:
                expected = accuracy(right[inside], np.ones(inside.sum()))
                wanted = [expected.value, expected.low, expected.high, confidence[inside].mean()]
                assert found == pytest.approx(wanted)
            else:
                assert np.isnan(found).all()


def test_error_of_the_title_is_that_of_the_bins_and_of_the_report() -> None:
    evaluation = results.evaluation(200)
    bins = table(evaluation)
    report = measures.report(evaluation, results.names(3), results.scales(3), results.MACS)["classifiers"]
    for name, own in bins.groupby("classifier"):
        gaps = own["images"] * (own["accuracy"] - own["confidence"]).abs()
        assert own["ece"].nunique() == own["auroc"].nunique() == 1
        assert own["ece"].iloc[0] == report[name]["ece"] == pytest.approx(gaps.sum() / 200)
        assert own["auroc"].iloc[0] == report[name]["auroc"]


def test_points_and_titles_are_those_of_the_table() -> None:
    bins = table(results.evaluation(200))
    axes = reliability.draw(bins, 200).axes
    for place, (name, own) in enumerate(bins.groupby("classifier", sort=False)):
        above, below = axes[place], axes[place + 4]
        filled = own.dropna()
        points = above.lines[1]
        assert np.asarray(points.get_xdata()) == pytest.approx(filled["confidence"].to_numpy())
        assert np.asarray(points.get_ydata()) == pytest.approx(filled["accuracy"].to_numpy())
        (whiskers,) = above.collections
        ends = [segment[:, 1].tolist() for segment in whiskers.get_segments()]  # type: ignore[attr-defined]
        assert np.array(ends) == pytest.approx(filled[["accuracy_low", "accuracy_high"]].to_numpy())
        heights = [bar.get_height() for bar in below.patches]  # type: ignore[attr-defined]
        assert heights == pytest.approx((own["images"] / 200).tolist())
        assert above.get_title(loc="left") == name
        text = f"ECE {100 * own['ece'].iloc[0]:.1f} %, AUROC {own['auroc'].iloc[0]:.3f}"
        assert text in [note.get_text() for note in above.texts]


@pytest.mark.parametrize("exits", [0, 1, 3, 5])
def test_any_number_of_classifiers_can_be_drawn(exits: int) -> None:
    figure = reliability.draw(table(results.evaluation(exits=exits)), 60)
    assert len(figure.axes) == 2 * (exits + 1)
    figure.draw_without_rendering()


def test_answers_all_right_and_all_alike_can_be_drawn() -> None:
    evaluation = results.evaluation(n=2, exits=0)
    logits = np.tile(np.array([0, 3], np.int8), (1, 2, 1))
    bins = table(replace(evaluation, int8_early_exit=logits, labels=np.ones(2, np.int64)))
    assert bins["auroc"].isna().all()
    figure = reliability.draw(bins, 2)
    figure.draw_without_rendering()
    assert any("no AUROC" in note.get_text() for note in figure.axes[0].texts)


def test_becomes_a_small_file_of_the_same_bytes(tmp_path: Path) -> None:
    bins = table(results.evaluation())
    for name in ("one.png", "two.png"):
        style.save_figure(tmp_path / name, reliability.draw(bins, 60))
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (tmp_path / "one.png").stat().st_size < 120_000
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.width == round(style.WIDTH * style.DPI)
