import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earlyexit.evaluation.statistics import accuracy
from earlyexit.policy import decision
from earlyexit.policy.guarantee import guarantee
from earlyexit.reports import policies as policies_report
from earlyexit.reports import shift
from earlyexit.reports.shift import Shifted
from tests.plots import results

EVALUATION, POLICIES, COSTS = results.evaluation(600), results.policies(), results.costs()
del COSTS["measured"]
SHIFTS = results.shifts(EVALUATION)
FOUND = shift.report(POLICIES, SHIFTS, COSTS)


def test_every_row_is_counted_image_by_image() -> None:
    assert [row["shift"] for row in FOUND["shifts"]] == ["clean", "camera"]
    for one, row in zip(SHIFTS, FOUND["shifts"], strict=True):
        whole = decision.labels(one.logits[-1])
        assert row["whole"] == vars(accuracy(whole, one.labels))
        for policy in POLICIES.policies:
            entry, n = row["policies"][policy.name], len(one.labels)
            ours, early = [], 0
            for image in range(n):
                decided = decision.decide(one.logits[:, image : image + 1], policy.thresholds, policy.patience)
                ours.append(int(decided.labels[0]))
                early += int(decided.exits[0] < len(one.logits) - 1)
            lost = sum(a != y and b == y for a, b, y in zip(ours, whole, one.labels, strict=True))
            assert entry["accuracy"] == np.mean(np.array(ours) == one.labels)
            assert entry["risk"] == lost / n
            assert entry["early_exit_rate"] == pytest.approx(early / n)
            assert entry["loss"] == pytest.approx(row["whole"]["value"] - entry["accuracy"])
    assert json.loads(json.dumps(FOUND, allow_nan=False)) == FOUND


def test_the_clean_row_is_that_of_the_policies_report() -> None:
    cascade = {policy.name: 1.0 for policy in POLICIES.policies}
    for entry in policies_report.report(POLICIES, EVALUATION, results.costs(), cascade)["policies"]:
        found = FOUND["shifts"][0]["policies"][entry["name"]]
        assert found == {key: entry["val"][key] for key in found}


def test_the_remedy_is_chosen_on_one_half_and_judged_on_the_other() -> None:
    one, row = SHIFTS[1], FOUND["shifts"][1]["remedy"]
    chosen = shift.half(one.ids)
    assert (row["chosen_on"], row["n"]) == (chosen.sum(), (~chosen).sum())
    learned = one.logits[:, chosen]
    expected = guarantee(
        decision.margins(learned)[:-1],
        decision.labels(learned),
        None,
        POLICIES.costs,
        POLICIES.risk,
        POLICIES.delta,
    )
    sources = row["thresholds_from"]
    assert [entry["thresholds"] for entry in sources.values()] == [
        POLICIES.named("guaranteed").thresholds,
        expected.thresholds,
    ]
    judged, whole = one.logits[:, ~chosen], decision.labels(one.logits[-1])[~chosen]
    for entry in sources.values():
        ours = decision.decide(judged, entry["thresholds"]).labels
        assert entry["differs"]["value"] == np.mean(ours != whole)
        assert entry["risk"] == np.mean((ours != whole) & (whole == one.labels[~chosen]))
        assert entry["risk"] <= entry["differs"]["value"]


def test_other_answers_in_the_judged_half_do_not_move_the_thresholds() -> None:
    one = SHIFTS[1]
    chosen = shift.half(one.ids)
    logits = one.logits.copy()
    logits[:, ~chosen] = logits[:, ~chosen, ::-1]
    labels = np.where(chosen, 1 - one.labels, one.labels)  # nor do labels in the half that chooses
    found = shift.remedy(POLICIES, Shifted("", "", one.ids, labels, logits), COSTS)
    assert found is not None
    before = FOUND["shifts"][1]["remedy"]["thresholds_from"]["the camera"]["thresholds"]
    assert found["thresholds_from"]["the camera"]["thresholds"] == before


@given(st.sets(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50))
def test_halves_depend_on_each_id_alone(ids: set[int]) -> None:
    ordered = np.array(sorted(ids))
    chosen = shift.half(ordered)
    np.testing.assert_array_equal(shift.half(ordered[::-1]), chosen[::-1])
    assert all(shift.half(np.array([id_]))[0] == one for id_, one in zip(ordered, chosen, strict=True))


def test_without_a_second_half_there_is_no_remedy() -> None:
    few = Shifted("few", "", EVALUATION.ids[:1], EVALUATION.labels[:1], EVALUATION.int8_early_exit[:, :1])
    found = shift.report(POLICIES, [few], COSTS)
    assert found["shifts"][0]["remedy"] is None
    assert shift.tables(found)[-1].rows == []


def test_tables_have_a_row_for_each_shift() -> None:
    *on_all, remedies = shift.tables(FOUND)
    assert {len(table.rows) for table in on_all} == {2}
    assert len(remedies.rows) == 4
    for table in (*on_all, remedies):
        assert {len(row) for row in table.rows} == {len(table.heads)}
    text = shift.markdown(FOUND)
    assert "clean: as they are; camera: of another camera" in text
    assert "a risk of at most 5.00 % with delta 0.1" in text
