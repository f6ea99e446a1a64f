from pathlib import Path

import pytest

from earlyexit.plots import shift, style
from earlyexit.reports import shift as report
from tests.plots import results

POLICIES = results.policies()
FOUND = report.report(POLICIES, results.shifts(results.evaluation(600)), results.costs())


def test_the_table_holds_every_policy_and_both_sources() -> None:
    table = shift.rows(FOUND)
    assert len(table) == 2 * (1 + len(POLICIES.policies) + 2)
    for row in FOUND["shifts"]:
        own = table[table["shift"] == row["shift"]]
        by_source = own[own["policy"] == "guaranteed"].set_index("thresholds_from")
        assert by_source.loc["calibration images, on all", "risk"] == row["policies"]["guaranteed"]["risk"]
        for source, entry in row["remedy"]["thresholds_from"].items():
            assert by_source.loc[source, "risk"] == entry["risk"]
            assert by_source.loc[source, "n"] == row["remedy"]["n"]


def test_the_figure_shows_the_promise_and_each_shift(tmp_path: Path) -> None:
    table = shift.rows(FOUND)
    figure = shift.draw(table, FOUND["risk"])
    left, right = figure.axes
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["clean\nn = 600", "camera\nn = 600"]
    assert FOUND["risk"] in [line.get_xdata()[0] for line in right.lines]  # type: ignore[index]
    for name in ("one.png", "two.png"):
        style.save_figure(tmp_path / name, shift.draw(table, FOUND["risk"]))
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_without_a_remedy_there_are_no_points_of_it() -> None:
    found = {**FOUND, "shifts": [{**row, "remedy": None} for row in FOUND["shifts"]]}
    table = shift.rows(found)
    assert len(table) == 2 * (1 + len(POLICIES.policies))
    assert shift.draw(table, 0.01).axes[1].get_xlim()[0] == pytest.approx(0)
