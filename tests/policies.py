"""Exit policies for tests."""

from collections.abc import Sequence
from typing import Any

from earlyexit.policy.policies import ChosenPolicy, Policies, Policy


def policy(thresholds: Sequence[int], patience: int = 0, name: str = "p50", **fields: Any) -> Policy:
    return Policy(name=name, thresholds=list(thresholds), patience=patience, **fields)


def policies(*chosen: Policy) -> Policies:
    found = {"kind": "percentile", "loss": 0.0, "risk": 0.0, "cost": 1.0}
    return Policies(
        n=1,
        source="calibration split",
        labelled=True,
        unit="macs",
        costs=[1.0] * (len(chosen[0].thresholds) + 1),
        risk=0.01,
        delta=0.1,
        policies=[ChosenPolicy.model_validate({**one.model_dump(), **found}) for one in chosen],
        path=[],
    )
