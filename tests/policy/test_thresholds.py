import json
from pathlib import Path

import numpy as np
import pytest

from earlyexit.policy import decision
from earlyexit.policy.thresholds import Thresholds, calibrate, check_classes, load_thresholds

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
        thresholds = decision.percentile_thresholds(margins[:2], percentile)
        assert found.margins[percentile] == thresholds
        for i, threshold in enumerate(thresholds):
            achieved = np.mean(margins[i] > threshold)
            assert found.achieved[percentile][i] == achieved <= (100 - percentile) / 100
            probability = found.probabilities[percentile][i]
            assert probability == pytest.approx(1 / (1 + np.exp(-threshold * SCALES[i])))


def test_the_final_classifier_has_no_say(margins: np.ndarray, found: Thresholds) -> None:
    assert calibrate(np.vstack([margins[:2], margins[2:] * 4]), [50, 95], NAMES, SCALES) == found


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
    ],
)
def test_a_file_that_does_not_fit(tmp_path: Path, found: Thresholds, change: dict[str, object], message: str) -> None:
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps(found.model_dump() | change), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        load_thresholds(path)
    assert str(caught.value).startswith(f"{path}: not a file of thresholds: ")
    assert "\n" not in str(caught.value)


def test_a_missing_leaf_is_named(tmp_path: Path, found: Thresholds) -> None:
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps(found.model_dump(exclude={"table"})), encoding="utf-8")
    with pytest.raises(ValueError, match="table: Field required"):
        load_thresholds(path)


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
