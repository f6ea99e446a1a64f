import json
from pathlib import Path

import numpy as np
import pytest

from earlyexit import policy
from earlyexit.thresholds import Thresholds, calibrate, load

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
        limits = policy.thresholds(margins[:2], percentile)
        assert found.margins[percentile] == limits
        for i, limit in enumerate(limits):
            achieved = np.mean(margins[i] > limit)
            assert found.achieved[percentile][i] == achieved <= (100 - percentile) / 100
            probability = found.probabilities[percentile][i]
            assert probability == pytest.approx(1 / (1 + np.exp(-limit * SCALES[i])))


def test_the_final_classifier_has_no_say(margins: np.ndarray, found: Thresholds) -> None:
    assert calibrate(np.vstack([margins[:2], margins[2:] * 4]), [50, 95], NAMES, SCALES) == found


def test_round_trip(tmp_path: Path, found: Thresholds) -> None:
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps(found.model_dump()), encoding="utf-8")
    assert load(path) == found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"margins": [[1, 2]] * 100}, "one row for each percentile"),
        ({"achieved": [[0.5]] * 101}, "one value for each exit"),
        ({"n": "many"}, "n: "),
        ({"margin": []}, "margin: "),
    ],
)
def test_a_file_that_does_not_fit(tmp_path: Path, found: Thresholds, change: dict[str, object], message: str) -> None:
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps(found.model_dump() | change), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: not a file of thresholds: ")
    assert "\n" not in str(caught.value)


def test_a_missing_leaf_is_named(tmp_path: Path, found: Thresholds) -> None:
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps(found.model_dump(exclude={"table"})), encoding="utf-8")
    with pytest.raises(ValueError, match="table: Field required"):
        load(path)


def test_no_file_and_no_json(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.json"
    with pytest.raises(FileNotFoundError, match=r"thresholds\.json"):
        load(path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"thresholds\.json: not valid JSON"):
        load(path)


def test_the_summary_says_requested_and_achieved(found: Thresholds, capsys: pytest.CaptureFixture[str]) -> None:
    found.print_summary()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("p95: 5 % requested")
    assert f"exit1 {found.achieved[95][0]:.1%}, exit2 {found.achieved[95][1]:.1%}" in lines[1]
