import json

import numpy as np
import pytest

from earlyexit.policy import decision
from earlyexit.reports import policies as report
from tests.plots import results

EVALUATION, POLICIES, COSTS = results.evaluation(), results.policies(), results.costs()
CASCADE = {policy.name: 100.0 + number for number, policy in enumerate(POLICIES.policies)}
FOUND = report.report(POLICIES, EVALUATION, COSTS, CASCADE)


def test_loss_and_risk_on_val_are_counted_image_by_image() -> None:
    labels, whole = EVALUATION.labels, decision.labels(EVALUATION.int8_early_exit[-1])
    for policy, entry in zip(POLICIES.policies, FOUND["policies"], strict=True):
        ours = decision.decide(EVALUATION.int8_early_exit, policy.thresholds, policy.patience).labels
        lost = sum(a != y and b == y for a, b, y in zip(ours, whole, labels, strict=True))
        gained = sum(a == y and b != y for a, b, y in zip(ours, whole, labels, strict=True))
        val, n = entry["val"], len(labels)
        assert val["risk"] == pytest.approx(lost / n)
        assert val["loss"] == pytest.approx((lost - gained) / n)
        assert val["loss_low"] <= val["loss"] <= val["loss_high"]
        assert val["accuracy"] == pytest.approx(FOUND["whole"]["accuracy"] - val["loss"])
        assert val["speedup_measured"] == pytest.approx(330 / CASCADE[policy.name])
        assert entry["calibration"] == {"loss": policy.loss, "risk": policy.risk, "cost": policy.cost}
    assert json.loads(json.dumps(FOUND, allow_nan=False)) == FOUND


def test_without_labels_the_risk_is_another_answer_than_the_whole_networks() -> None:
    row = POLICIES.named("searched_0.01")
    found = report.kept(row.thresholds, 0, EVALUATION.int8_early_exit, EVALUATION.labels, COSTS, labelled=False)
    ours = decision.decide(EVALUATION.int8_early_exit, row.thresholds).labels
    assert found["risk"] == pytest.approx(np.mean(ours != decision.labels(EVALUATION.int8_early_exit[-1])))


def test_markdown_has_a_row_for_each_policy_and_the_promise() -> None:
    text = report.markdown(FOUND)
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    assert [row.split("|")[1].strip() for row in rows] == list(CASCADE)
    promise = POLICIES.named("guaranteed").promise
    assert promise is not None
    assert promise in text
