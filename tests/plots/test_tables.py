"""What the figures show, against a reader who takes one image at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from earlyexit.evaluation.frontier import curve as over_percentiles
from earlyexit.evaluation.statistics import accuracy
from earlyexit.paper import TABLE1
from earlyexit.plots import confidence, exit_share, frontier, learning_curves, quantization
from earlyexit.policy.thresholds import Thresholds
from tests.plots import results

EVALUATION = results.evaluation()
THRESHOLDS = results.thresholds()


def by(table: pd.DataFrame, *keys: str) -> dict[Any, dict[str, Any]]:
    """The rows of a table by the values of some of its columns."""
    rows: dict[Any, Any] = table.set_index(list(keys) if len(keys) > 1 else keys[0]).to_dict("index")
    return rows


def leave(thresholds: Thresholds, percentile: int) -> list[tuple[int, int]]:
    """Each val image's classifier and class, by the definition."""
    decided = []
    for image in range(len(EVALUATION.labels)):
        for number, logits in enumerate(EVALUATION.int8_early_exit):
            zero, one = (int(z) for z in logits[image])
            if number == len(thresholds.exits) or abs(one - zero) > thresholds.margins[percentile][number]:
                decided.append((number, int(one > zero)))
                break
    return decided


def test_curve_is_what_images_give_one_by_one() -> None:
    timed = results.latency()
    curve = pd.DataFrame(over_percentiles(EVALUATION, THRESHOLDS, results.costs()))
    assert list(curve["percentile"]) == list(range(101))
    until = np.cumsum(list(timed["segments"].values()))
    for percentile in (0, 33, 50, 95, 100):
        decided = leave(THRESHOLDS, percentile)
        exits = [number for number, _ in decided]
        expected = accuracy(np.array([label for _, label in decided]), EVALUATION.labels)
        row = curve.to_dict("records")[percentile]
        found = [row[name] for name in ("accuracy", "accuracy_low", "accuracy_high")]
        assert found == pytest.approx([expected.value, expected.low, expected.high])
        assert row["early_exit_rate"] == pytest.approx(np.mean([number < 3 for number in exits]))
        macs = np.mean([sum(results.MACS[: number + 1]) for number in exits])
        assert row["speedup_macs"] == pytest.approx(results.BASELINE_MACS / macs)
        assert row["speedup_measured"] == pytest.approx(330 / np.mean([until[number] for number in exits]))


def test_reference_points_are_table_1() -> None:
    rows = over_percentiles(EVALUATION, THRESHOLDS, results.costs())
    curve = pd.DataFrame(rows)
    points = by(frontier.references(EVALUATION, curve, THRESHOLDS.table), "source", "configuration")
    assert [name for source, name in points if source == "ours"] == ["fp32", "int8_baseline", "p50", "p75", "p95"]
    assert points["ours", "p75"]["accuracy"] == curve["accuracy"][75]
    assert points["ours", "p75"]["speedup"] == curve["speedup_measured"][75]
    assert points["ours", "int8_baseline"]["speedup"] == 1
    right = EVALUATION.int8_baseline[0].argmax(1) == EVALUATION.labels
    assert points["ours", "int8_baseline"]["accuracy"] == pytest.approx(right.mean())
    assert np.isnan(points["ours", "fp32"]["speedup"])
    for name, row in TABLE1.items():
        assert points["paper", name]["accuracy"] == row["accuracy"]


def test_exit_shares_count_the_images() -> None:
    table = by(exit_share.shares(EVALUATION, THRESHOLDS, results.names(3)), "percentile")
    for percentile in THRESHOLDS.table:
        exits = [number for number, _ in leave(THRESHOLDS, percentile)]
        for number, name in enumerate(results.names(3)):
            assert table[percentile][name] == pytest.approx(exits.count(number) / len(exits))
    assert table[50]["early_exit_rate"] == pytest.approx(1 - table[50]["final"])
    assert table[50]["paper_early_exit_rate"] == 0.7305


def test_a_percentile_that_the_paper_lacks_has_no_rate_of_its() -> None:
    table = exit_share.shares(EVALUATION, results.thresholds(table=(40,)), results.names(3))
    assert table["paper_early_exit_rate"].isna().all()


def test_histograms_hold_every_image_once_where_it_belongs() -> None:
    table = confidence.histograms(EVALUATION, results.names(3), results.scales(3))
    assert list(table["exit"].unique()) == ["exit1", "exit2", "exit3"]
    for number, (_, bins) in enumerate(table.groupby("exit")):
        assert bins["right"].sum() + bins["wrong"].sum() == len(EVALUATION.labels)
        assert len(bins) <= confidence.BINS
        assert (bins["margin_high"] - bins["margin_low"]).nunique() == 1
        for _, row in bins.iterrows():
            expected = {True: 0, False: 0}
            for logits, label in zip(EVALUATION.int8_early_exit[number], EVALUATION.labels, strict=True):
                margin = int(logits[1]) - int(logits[0])
                if row["margin_low"] <= abs(margin) < row["margin_high"]:
                    expected[(margin > 0) == label] += 1
            assert (row["right"], row["wrong"]) == (expected[True], expected[False])
        ratio = np.exp(bins["margin_low"] * results.scales(3)[number])
        assert np.allclose(bins["confidence_low"], ratio / (1 + ratio))


def test_quantization_has_both_accuracies_and_their_difference() -> None:
    table = by(quantization.accuracies(EVALUATION), "classifier")
    assert list(table) == ["baseline", "exit1", "exit2", "exit3", "final"]
    for number, name in enumerate(results.names(3)):
        fp32, int8 = (
            (logits[number].argmax(1) == EVALUATION.labels).mean()
            for logits in (EVALUATION.fp32_early_exit, EVALUATION.int8_early_exit)
        )
        assert [table[name][key] for key in ("fp32", "int8", "points")] == pytest.approx(
            [fp32, int8, 100 * (int8 - fp32)]
        )
    assert table["baseline"]["points"] == 0


def test_logs_of_all_stages_in_one_table(tmp_path: Path) -> None:
    results.write_logs(tmp_path / "a", {"train/loss": [0.7, 0.5], "calibration/final": [0.6, 0.8]})
    results.write_logs(tmp_path / "b", {"train/loss": [1.5], "calibration/exit1": [0.7]})
    table = learning_curves.read({"baseline": tmp_path / "a", "disjoint": tmp_path / "b"})
    expected = pd.DataFrame(
        {
            "stage": ["baseline", "baseline", "disjoint"],
            "epoch": [1, 2, 1],
            "step": [1, 2, 3],
            "calibration_final": [0.6, 0.8, np.nan],
            "train_loss": [0.7, 0.5, 1.5],
            "calibration_exit1": [np.nan, np.nan, 0.7],
        }
    )
    pd.testing.assert_frame_equal(table, expected)


def test_stages_without_epochs_have_no_loss_and_can_be_drawn(tmp_path: Path) -> None:
    results.write_logs(tmp_path, {"calibration/final": [0.6]})
    table = learning_curves.read(dict.fromkeys(learning_curves.STAGES, tmp_path))
    assert table["calibration_final"].tolist() == [0.6] * 3
    assert table["train_loss"].isna().all()
    learning_curves.draw(table, ["final"], 80, 20).draw_without_rendering()


def test_logs_that_are_missing_or_strange_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="the joint stage writes them"):
        learning_curves.read({"joint": tmp_path})
    path = tmp_path / "plots" / "metrics" / "train" / "loss.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("epoch\tloss\n1\t2\n")
    with pytest.raises(ValueError, match=r"loss.tsv: columns step and loss expected, found epoch, loss"):
        learning_curves.read({"joint": tmp_path})
