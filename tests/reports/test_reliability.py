import json
import math
from typing import Any

import numpy as np
import pytest

from earlyexit.evaluation import statistics
from earlyexit.evaluation.per_image import Evaluation
from earlyexit.policy import decision
from earlyexit.reports import reliability
from tests.plots import results

MACS = [2_000_000, 1_000_000, 500_000, 4_500_000]


def evaluation(*right: int, n: int = 20, ones: int = 10, margin: int = 20) -> Evaluation:
    """Classifiers that are right about the first `right` images each, all of them equally sure."""
    labels = (np.arange(n) % n < ones).astype(np.int64)
    said = np.array([np.where(np.arange(n) < count, labels, 1 - labels) for count in right])
    logits = np.stack([margin * (1 - said), margin * said], axis=2).astype(np.int8)
    baseline = logits[-1:]
    return Evaluation(
        ids=np.arange(n),
        labels=labels,
        fp32_baseline=baseline.astype(np.float32),
        int8_baseline=baseline,
        fp32_early_exit=0.1 * logits.astype(np.float32),
        int8_early_exit=logits,
    )


def report(found: Evaluation) -> dict[str, Any]:
    count = len(found.int8_early_exit)
    return reliability.report(found, results.names(count - 1), [0.1] * count, MACS[:count])


def test_report_by_hand() -> None:
    found = report(evaluation(12, 16, 16, 18))
    assert list(found) == ["n", "bins", "constant", "classifiers"]
    assert (found["n"], found["bins"]) == (20, 15)
    assert found["constant"]["answer"] == "no person"
    assert found["constant"]["accuracy"]["value"] == 0.5
    entries = found["classifiers"]
    assert list(entries) == ["exit1", "exit2", "exit3", "final"]
    assert [entry["macs"] for entry in entries.values()] == [2_000_000, 3_000_000, 3_500_000, 8_000_000]
    assert [entry["accuracy"]["value"] for entry in entries.values()] == [0.6, 0.8, 0.8, 0.9]
    assert [entry["useless"] for entry in entries.values()] == [False, False, True, False]
    gains = [entry["gain"] for entry in entries.values()]
    assert [gain["over"] for gain in gains] == ["constant", "exit1", "exit2", "exit2"]
    assert [gain["macs"] for gain in gains] == [2_000_000, 1_000_000, 500_000, 5_000_000]
    assert [gain["accuracy"]["value"] for gain in gains] == pytest.approx([0.1, 0.2, 0, 0.1])
    assert [gain["points_per_million_macs"] for gain in gains] == pytest.approx([5, 20, 0, 2])
    confidence = 1 / (1 + math.exp(-2))
    for entry in entries.values():
        gap = abs(entry["accuracy"]["value"] - confidence)
        assert entry["mean_confidence"] == pytest.approx(confidence)
        assert entry["ece"] == pytest.approx(gap)
        assert entry["auroc"] == 0.5
        assert entry["fp32"]["accuracy"] == entry["accuracy"]
        assert entry["fp32"]["ece"] == pytest.approx(gap)
        assert entry["fp32"]["auroc"] == 0.5


def test_report_scores_each_classifier_with_its_own_scale() -> None:
    evaluated, scales = results.evaluation(), results.scales(3)
    found = reliability.report(evaluated, results.names(3), scales, MACS)["classifiers"]
    for logits, scale, entry in zip(evaluated.int8_early_exit, scales, found.values(), strict=True):
        margins, right = decision.margins(logits), decision.labels(logits) == evaluated.labels
        confidence = decision.confidence(margins, scale)
        assert entry["accuracy"]["value"] == right.mean()
        assert entry["mean_confidence"] == pytest.approx(confidence.mean())
        assert entry["auroc"] == statistics.auroc(margins, right)
        assert entry["ece"] == statistics.calibration_error(confidence, right)
    for logits, entry in zip(evaluated.fp32_early_exit, found.values(), strict=True):
        wide = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
        confidence = wide.max(1) / wide.sum(1)
        assert entry["fp32"]["mean_confidence"] == pytest.approx(confidence.mean())


def test_report_can_be_written_where_all_answers_are_right_or_wrong() -> None:
    found = report(evaluation(0, 20, 20))
    assert [entry["auroc"] for entry in found["classifiers"].values()] == [None, None, None]
    json.dumps(found, allow_nan=False)
    assert "| - |" in reliability.markdown(found)


def test_worse_than_the_commoner_class_is_useless() -> None:
    found = report(evaluation(14, 15, 17, ones=15))
    assert found["constant"]["answer"] == "person"
    assert [entry["useless"] for entry in found["classifiers"].values()] == [True, True, False]
    assert [entry["gain"]["over"] for entry in found["classifiers"].values()] == ["constant"] * 3
    assert found["classifiers"]["final"]["gain"]["macs"] == 3_500_000
    text = reliability.markdown(found)
    assert "- exit1 is useless: 70.00 % at 2.00 M MACs, not better than constant (75.00 % at 0.00 M MACs)" in text
    assert 'always answering "person"' in text


def test_an_exit_is_held_against_the_best_before_it() -> None:
    found = report(evaluation(16, 12, 15, 18))
    assert [entry["useless"] for entry in found["classifiers"].values()] == [False, True, True, False]
    assert [entry["gain"]["over"] for entry in found["classifiers"].values()][1:] == ["exit1"] * 3


def test_markdown_shows_the_same_numbers() -> None:
    found = report(evaluation(12, 16, 15, 16))
    text = reliability.markdown(found)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 2 + 4
    cells = [cell.strip() for cell in lines[3].strip("|").split("|")]
    entry = found["classifiers"]["exit2"]
    own, change = entry["accuracy"], entry["gain"]["accuracy"]
    assert cells == [
        "exit2",
        "3.00",
        "80.00",
        f"{100 * own['low']:.2f}–{100 * own['high']:.2f}",
        f"{100 * entry['fp32']['accuracy']['value']:.2f}",
        f"{100 * entry['mean_confidence']:.2f}",
        "0.500",
        f"{100 * entry['ece']:.2f}",
        "exit1",
        "+20.00",
        f"{100 * change['low']:+.2f} to {100 * change['high']:+.2f}",
        "+20.00",
    ]
    assert "n = 20 val images" in text
    assert text.splitlines()[-2:] == [
        "- exit3 is useless: 75.00 % at 3.50 M MACs, not better than exit2 (80.00 % at 3.00 M MACs); "
        "take it out of `exits`.",
        "- final is useless: 80.00 % at 8.00 M MACs, not better than exit2 (80.00 % at 3.00 M MACs); "
        "a network that ends there is no worse.",
    ]


def test_markdown_where_each_is_better() -> None:
    text = reliability.markdown(report(evaluation(12, 13, 14, 15)))
    assert text.endswith("\n\nEach classifier is better than those before it.\n")
    assert "useless" not in text


def test_what_does_not_fit_is_named() -> None:
    found, names = evaluation(12, 16), ["exit1", "final"]
    with pytest.raises(ValueError, match="3 names, 2 scales and 2 MACs for an evaluation of 2 classifiers"):
        reliability.report(found, [*names, "more"], [0.1, 0.1], [1, 1])
    with pytest.raises(ValueError, match=r"MACs of the segments are \[5, 0\]: each must be positive"):
        reliability.report(found, names, [0.1, 0.1], [5, 0])
    with pytest.raises(ValueError, match="0 predictions for 0 labels"):
        reliability.report(evaluation(0, 0, n=0, ones=0), names, [0.1, 0.1], [1, 1])
