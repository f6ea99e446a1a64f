"""What each exit policy promised on the calibration images, and what it keeps on val."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from earlyexit.common.markdown import percent, percent_within, table, times
from earlyexit.evaluation.costs import Costs, speedups
from earlyexit.evaluation.per_image import Evaluation
from earlyexit.evaluation.statistics import Accuracy, Difference, accuracy, paired_difference, share
from earlyexit.policy import decision
from earlyexit.policy.policies import Policies


def report(
    policies: Policies, evaluation: Evaluation, costs: Mapping[str, Costs], cascade: Mapping[str, float]
) -> dict[str, Any]:
    """Return each policy with its loss and risk on the calibration images and on val.

    Args:
        policies: from the policy stage.
        evaluation: logits on the val split.
        costs: "macs", "measured" (microseconds) and "emulated" (cycles).
        cascade: measured microseconds per image under each policy, by name.
    """
    whole = accuracy(decision.labels(evaluation.int8_early_exit[-1]), evaluation.labels)
    return {
        "cost": policies.unit,
        "calibration": {"n": policies.n, "source": policies.source, "labels": policies.labelled},
        "risk": policies.risk,
        "delta": policies.delta,
        "n": whole.n,
        "whole": {"accuracy": whole.value, "accuracy_low": whole.low, "accuracy_high": whole.high},
        "policies": [
            {
                **policy.model_dump(exclude={"loss", "risk", "cost"}),
                "calibration": policy.model_dump(include={"loss", "risk", "cost"}),
                "val": {
                    **kept(
                        policy.thresholds,
                        policy.patience,
                        evaluation.int8_early_exit,
                        evaluation.labels,
                        costs,
                        labelled=policies.labelled,
                    ),
                    "speedup_measured": costs["measured"].baseline / cascade[policy.name],
                },
            }
            for policy in policies.policies
        ],
    }


def kept(
    thresholds: Sequence[int],
    patience: int,
    logits: np.ndarray,
    labels: np.ndarray,
    costs: Mapping[str, Costs],
    *,
    labelled: bool,
) -> dict[str, Any]:
    """Return what a policy does on images: accuracy, loss and risk with 95 % intervals, exits, speedups.

    Args:
        thresholds, patience: the policy, as `decision.decide` takes it.
        logits: INT8 (classifiers, N, 2), the final classifier's last.
        labels: of the images, (N,).
        costs: in each unit.
        labelled: whether the risk counts images that the cascade gets wrong and the whole network right; if not, those
            that the two answer differently.
    """
    decisions = decision.decide(logits, thresholds, patience)
    ours, whole = decisions.labels, decision.labels(logits[-1])
    shares = decision.exit_shares(decisions.exits, len(logits))
    loss = paired_difference(whole, ours, labels)
    risk = share((ours != whole) & ((whole == labels) if labelled else True))
    return {
        **_interval("accuracy", accuracy(ours, labels)),
        **_interval("loss", loss),
        **_interval("risk", risk),
        "early_exit_rate": 1 - shares[-1],
        "exit_share": shares,
        "mean_macs": costs["macs"].mean(shares),
        **speedups(costs, shares),
    }


def markdown(found: Mapping[str, Any]) -> str:
    """Return the report as a Markdown table with its notes."""
    exits = len(found["policies"][0]["thresholds"])
    heads = [
        "Policy",
        "Thresholds",
        "Loss, calibration",
        "Risk, calibration",
        "Val Acc. (%)",
        "Loss, val",
        "Risk, val (%)",
    ]
    heads += ["/".join([*(str(i + 1) for i in range(exits)), "final"]) + " (%)"]
    heads += ["Speedup (MACs)", "Speedup (measured)", "Speedup (Cortex-M4, estimated)"]
    n, calibration = found["n"], found["calibration"]
    risk = (
        "wrong where the whole network is right"
        if calibration["labels"]
        else "answered otherwise than by the whole network"
    )
    lines = [
        *table(heads, map(_cells, found["policies"]), labels=2),
        "",
        f"Loss in points of accuracy: the whole network ({percent(found['whole']['accuracy'])} %) minus the cascade. "
        f"Risk: share of images {risk}. Policies come from {calibration['n']:,} images of {calibration['source']}, "
        f"where they minimize the cost ({found['cost']}). Val: n = {n:,}, 95 % intervals.",
        *(
            f"\n{policy['name']}: {policy['promise'] or policy['note']}"
            for policy in found["policies"]
            if policy["promise"] or policy["note"]
        ),
    ]
    return "\n".join(lines) + "\n"


def _cells(policy: Mapping[str, Any]) -> list[str]:
    calibration, val = policy["calibration"], policy["val"]
    leaves = f"{policy['patience']} agree" if policy["patience"] else " / ".join(map(str, policy["thresholds"]))
    return [
        policy["name"],
        leaves,
        percent(calibration["loss"]),
        percent(calibration["risk"]),
        *(percent_within(val[key], val[f"{key}_low"], val[f"{key}_high"]) for key in ("accuracy", "loss", "risk")),
        " / ".join(percent(share, 1) for share in val["exit_share"]),
        *(times(val[f"speedup_{unit}"]) for unit in ("macs", "measured", "emulated")),
    ]


def _interval(name: str, found: Accuracy | Difference) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
