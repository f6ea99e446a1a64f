import json
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments import bits
from tests.experiments.measured import IMAGES, NAMES, Finished


def found(*experiments: Finished, group: str = "ptq") -> list[dict[str, Any]]:
    return bits.rows([(group, experiment) for experiment in experiments])  # type: ignore[misc]


def test_changes_are_against_eight_bits_after_training_at_the_same_seed() -> None:
    rows = found(Finished(1, 4), Finished(2), Finished(1), Finished(2, 4), Finished(2, 4, qat=2))
    assert [(row["bits"], row["way"], row["seeds"]) for row in rows] == [
        (8, "PTQ", [1, 2]),
        (4, "PTQ", [1, 2]),
        (4, "QAT", [2]),
    ]
    for row, mean in zip(rows, (0.0, -0.04, 0.0), strict=True):
        for split in (row, row["calibration"]):
            assert split["change"].keys() == split["accuracy"].keys() == set(NAMES)
            assert split["change"]["final"]["mean"] == pytest.approx(mean)
    assert rows[0]["accuracy"]["final"]["mean"] == pytest.approx(0.815)
    assert rows[0]["calibration"]["accuracy"]["final"]["mean"] == pytest.approx(0.715)
    assert (rows[1]["flash"], rows[1]["cycles"]) == (4002, 3_300_000)


def test_the_change_of_one_seed_has_an_interval_on_val() -> None:
    reference, row = found(Finished(1), Finished(1, 4))
    assert reference["change"]["exit1"] == {"mean": 0.0}
    change = row["change"]["exit1"]
    assert change["mean"] == pytest.approx(-0.04)
    assert -0.08 < change["low"] < -0.04 < change["high"] < -0.01  # all that changed are wrong now
    assert row["calibration"]["change"]["exit1"] == {"mean": pytest.approx(-0.04)}


def test_training_on_in_float_and_a_larger_network_have_rows_of_their_own() -> None:
    rows = found(Finished(1), Finished(1, qat=2, qat_rounding=False)) + found(Finished(1, 4, qat=2), group="larger")
    assert [(row["network"], row["way"]) for row in rows] == [
        ("", "PTQ"),
        ("", "trained on in float, PTQ"),
        ("larger", "QAT"),
    ]


def test_costs_on_the_device_are_of_the_lowest_seed() -> None:
    experiments = [
        ("ptq", Finished(2)),
        ("ptq", Finished(1)),
        ("ptq", Finished(1, 4)),
        ("qat", Finished(3, 4, qat=2)),
        ("float", Finished(1, 4, qat=2, qat_rounding=False)),
        ("larger", Finished(1, 4, qat=2)),
    ]
    entries = bits.on_device(experiments)  # type: ignore[arg-type]
    assert [(one["title"], one["seed"]) for one in entries] == [("8 bits", 1), ("4 bits", 3), ("larger, 4 bits", 1)]


def test_a_seed_without_a_reference_has_no_change() -> None:
    rows = found(Finished(1), Finished(2, 4))
    assert rows[1]["change"]["final"] is None
    assert "| - | - | - |" in bits.markdown(rows)


def test_the_report_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports/sweeps").mkdir(parents=True)
    groups = {
        "trial_ptq": [Finished(1), Finished(2), Finished(1, 4, "per_tensor")],
        "trial_larger": [Finished(1, 4, qat=2)],
    }
    monkeypatch.setattr(bits, "find", groups.__getitem__)
    monkeypatch.setattr(sys, "argv", ["", "trial", "ptq", "larger"])
    bits.main()
    lines = Path("reports/sweeps/trial.md").read_text().splitlines()
    assert lines[2].startswith("| default | 8 | per channel | PTQ | 1, 2 | 81.50 ± 0.71 |")
    assert lines[3].startswith("| default | 4 | per tensor | PTQ | 1 | 77.0 (70.7 to 82.3) |")
    assert lines[3].endswith(" -4.00 (-7.2 to -1.1) |")
    assert "| default | 4 | per tensor | PTQ | 1 | 67.0 (0.0 to 100.0) |" in "\n".join(lines)
    assert "| larger | 4 | per channel | QAT | 4,001 | 60 | 4,001 | 30 | 3.30 |" in lines
    assert json.loads(Path("reports/sweeps/trial.json").read_text())[0]["n"] == IMAGES
    assert [one["title"] for one in json.loads(Path("reports/sweeps/trial_device.json").read_text())] == [
        "8 bits",
        "larger, 4 bits",
    ]
    assert "| TFLM, bytes | flash, 8 bits |" in Path("reports/sweeps/trial_device.md").read_text()


def test_the_groups_must_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["", "bits"])
    with pytest.raises(ValueError, match=r"^usage: python -m experiments\.bits NAME GROUP"):
        bits.main()
