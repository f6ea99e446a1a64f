import json
from fractions import Fraction
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from earlyexit.policy import decision
from earlyexit.policy.thresholds import Scope, Thresholds, calibrate, check_classes, load_thresholds

NAMES = ["exit1", "exit2", "final"]
SCALES = [0.02, 0.05, 0.01]


@pytest.fixture
def margins() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 60, (3, 200))


@pytest.fixture
def found(margins: np.ndarray) -> Thresholds:
    return calibrate(margins, [50, 95], NAMES, SCALES)


def test_every_percentile_of_every_early_exit(margins: np.ndarray, found: Thresholds) -> None:
    assert (found.n, found.exits, found.table) == (200, ["exit1", "exit2"], [50, 95])
    for percentile in range(101):
        thresholds = decision.percentiles(margins[:2], percentile).tolist()
        assert found.margins[percentile] == thresholds
        for i, threshold in enumerate(thresholds):
            achieved = np.mean(margins[i] > threshold)
            assert found.achieved[percentile][i] == achieved <= (100 - percentile) / 100
            probability = found.probabilities[percentile][i]
            assert probability == pytest.approx(1 / (1 + np.exp(-threshold * SCALES[i])))


def test_the_final_classifier_has_no_say(margins: np.ndarray, found: Thresholds) -> None:
    assert calibrate(np.vstack([margins[:2], margins[2:] * 4]), [50, 95], NAMES, SCALES) == found


SCOPES: tuple[Scope, ...] = get_args(Scope)
scale = st.floats(2**-10, 1, width=32, exclude_max=True)


@given(
    margins=arrays.arrays(np.int64, st.tuples(st.just(3), st.integers(1, 40)), elements=st.integers(0, 255)),
    scales=st.lists(scale, min_size=3, max_size=3),
    percentile=st.integers(0, 100),
    scope=st.sampled_from(SCOPES),
)
def test_an_image_leaves_where_its_real_margin_exceeds_the_percentile_of_the_scope(
    margins: np.ndarray, scales: list[float], percentile: int, scope: Scope
) -> None:
    real = [[Fraction(scale) * int(margin) for margin in row] for scale, row in zip(scales, margins, strict=True)]
    populations = {"exit": real[:2], "pooled": [real[0] + real[1]] * 2, "final": [real[2]] * 2}[scope]
    found = calibrate(margins, [50], NAMES, scales, scope=scope)
    for exit_, population in enumerate(populations):
        rank = max(-(-len(population) * percentile // 100), 1)
        limit = sorted(population)[rank - 1]
        threshold = found.margins[percentile][exit_]
        for margin in range(256):
            assert (margin > threshold) == (Fraction(scales[exit_]) * margin > limit)
        assert found.achieved[percentile][exit_] == np.mean([value > limit for value in real[exit_]])


def test_a_common_threshold_is_one_confidence_of_all_exits(margins: np.ndarray) -> None:
    for scope in ("pooled", "final"):
        found = calibrate(margins, [50], NAMES, [0.02, 0.04, 0.02], scope=scope)
        (first, second) = found.margins[50]
        assert second == first // 2
        assert found != calibrate(margins, [50], NAMES, [0.02, 0.04, 0.02])


def test_a_threshold_out_of_reach_is_named(margins: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    margins[0] = margins[0] // 10
    found = calibrate(margins, [50], NAMES, [0.02, 0.02, 0.02], scope="final")
    assert found.warnings == [
        f"p50: no calibration image leaves at exit1: its threshold {found.margins[50][0]} is above the largest margin "
        "there is, 5"
    ]
    found.print_summary("final")
    assert capsys.readouterr().out.startswith("p50: 50 % requested of the final classifier's confidences, exit1 0.0%,")


def test_nothing_is_warned_of_in_the_normal_case(margins: np.ndarray, found: Thresholds) -> None:
    assert found.warnings == []
    answers = np.random.default_rng(1).integers(0, 2, margins.shape)
    assert calibrate(margins, [50, 95, 100], NAMES, SCALES, answers).warnings == []


@pytest.mark.parametrize("margin", [0, 3, 255])
def test_a_dead_exit_is_named_once(margins: np.ndarray, margin: int) -> None:
    margins[1] = margin
    found = calibrate(margins, [50, 95], NAMES, SCALES, np.ones_like(margins))
    assert found.warnings[1] == (
        f"exit2 is dead: all 200 calibration images have margin {margin}, so no image ever leaves there; train it "
        "longer or move it"
    )
    assert sum("exit2" in warning for warning in found.warnings) == 1
    assert not np.array(found.achieved)[:, 1].any()


def test_a_dead_final_classifier_is_named(margins: np.ndarray) -> None:
    margins[2] = 7
    (warning,) = calibrate(margins, [50], NAMES, SCALES).warnings
    assert warning.startswith("final is dead: all 200 calibration images have margin 7, so it decides all the rest")


@pytest.mark.parametrize(("label", "name"), [(0, "no person"), (1, "person")])
def test_a_classifier_of_one_class_is_named(margins: np.ndarray, label: int, name: str) -> None:
    answers = np.tile([0, 1], (3, 100))
    answers[0] = label
    (warning,) = calibrate(margins, [50], NAMES, SCALES, answers).warnings
    assert warning == f'exit1 says "{name}" of all 200 calibration images; train it longer or move it'


def test_thresholds_that_no_image_passes_are_named(margins: np.ndarray) -> None:
    margins[0, :60] = 255
    warnings = calibrate(margins, [50, 75, 95, 100], NAMES, SCALES).warnings
    assert warnings == [
        f"p{percentile}: no calibration image leaves at exit1: its threshold 255 is the largest margin there is, which "
        "60 of 200 images have"
        for percentile in (75, 95)
    ]


def test_warnings_are_printed_and_kept(tmp_path: Path, margins: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    margins[1] = 4
    found = calibrate(margins, [50], NAMES, SCALES)
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps(found.model_dump()), encoding="utf-8")
    assert load_thresholds(path).warnings == found.warnings
    found.print_summary()
    assert capsys.readouterr().out.splitlines()[1] == f"warning: {found.warnings[0]}"


def test_a_file_without_warnings_is_one_from_before(tmp_path: Path, found: Thresholds) -> None:
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps(found.model_dump(exclude={"warnings"})), encoding="utf-8")
    assert load_thresholds(path) == found


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_none(margins: np.ndarray, scale: float) -> None:
    with pytest.raises(ValueError, match=r"exit2: its logits have scale .*; rerun the ptq stage"):
        calibrate(margins, [50], NAMES, [0.02, scale, 0.01])


@pytest.mark.parametrize(("labels", "missing"), [([1, 1], "0 .no person"), ([0], "1 .person"), ([], "0")])
def test_a_calibration_split_of_one_class_is_refused(labels: list[int], missing: str) -> None:
    with pytest.raises(
        ValueError, match=f"none of the {len(labels)} images of the calibration split has label {missing}"
    ):
        check_classes(np.array(labels))
    check_classes(np.array([0, 1, 1]))


def test_round_trip(tmp_path: Path, found: Thresholds) -> None:
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps(found.model_dump()), encoding="utf-8")
    assert load_thresholds(path) == found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"margins": [[1, 2]] * 100}, "one row for each percentile"),
        ({"achieved": [[0.5]] * 101}, "one value for each exit"),
        ({"n": "many"}, "n: "),
        ({"n": 0}, "n: "),
        ({"table": [-1]}, "table: 0: "),
        ({"table": [101]}, "table: 0: "),
        ({"margins": [[256, 0]] * 101}, "margins: 0: 0: "),
        ({"probabilities": [[float("nan"), 1]] * 101}, "probabilities: 0: 0: "),
        ({"exits": ["exit1", "*/"]}, "exits: 1: "),
        ({"margin": []}, "margin: "),
        ({"table": None}, "table: "),
    ],
)
def test_a_file_that_does_not_fit(tmp_path: Path, found: Thresholds, change: dict[str, object], message: str) -> None:
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps(found.model_dump() | change), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        load_thresholds(path)
    assert str(caught.value).startswith(f"{path}: not a file of thresholds: ")
    assert "\n" not in str(caught.value)


def test_no_file_and_no_json(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.json"
    with pytest.raises(FileNotFoundError, match=r"thresholds\.json"):
        load_thresholds(path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"thresholds\.json: not valid JSON"):
        load_thresholds(path)


def test_the_summary_says_requested_and_achieved(found: Thresholds, capsys: pytest.CaptureFixture[str]) -> None:
    found.print_summary()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("p95: 5 % requested")
    assert f"exit1 {found.achieved[95][0]:.1%}, exit2 {found.achieved[95][1]:.1%}" in lines[1]
