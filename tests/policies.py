"""Exit policies for tests."""

from collections.abc import Sequence
from typing import Any

from earlyexit.policy.policies import Policies, Policy


def policy(thresholds: Sequence[int], patience: int = 0, **fields: Any) -> Policy:
    return Policy.model_validate(
        {"name": "p50", "kind": "percentile", "thresholds": list(thresholds), "patience": patience, **fields}
    )


def policies(*chosen: Policy) -> Policies:
    return Policies.model_validate({"policies": [one.model_dump() for one in chosen]})
