import numpy as np
import pytest

from earlyexit.plots import policies
from earlyexit.policy import decision
from tests.plots import results

EVALUATION, THRESHOLDS, POLICIES, COSTS = (
    results.evaluation(),
    results.thresholds(),
    results.policies(),
    results.costs(),
)


def test_trades_hold_every_policy_and_its_loss_on_val() -> None:
    table = policies.trades(POLICIES, THRESHOLDS, EVALUATION, COSTS)
    counts = table["kind"].value_counts().to_dict()
    assert counts == {"percentile": 101, "searched": len(POLICIES.path), "guaranteed": 1, "patience": 2}
    rows = {row["name"]: row for row in table.to_dict("records")}
    whole = np.mean(decision.labels(EVALUATION.int8_early_exit[-1]) == EVALUATION.labels)
    for policy in POLICIES.policies:
        decided = decision.decide(EVALUATION.int8_early_exit, policy.thresholds, policy.patience)
        if policy.name in rows:
            row = rows[policy.name]
            assert row["loss"] == pytest.approx(whole - np.mean(decided.labels == EVALUATION.labels))
            cost = np.take(COSTS["emulated"].until, decided.exits).mean()
            assert row["speedup_emulated"] == pytest.approx(COSTS["emulated"].baseline / cost)
    assert rows["step 0"]["calibration_loss"] == POLICIES.path[0].loss
