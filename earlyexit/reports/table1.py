"""Table I: the paper's rows beside ours."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from earlyexit.common.markdown import NOTHING, millions, percent, times
from earlyexit.common.markdown import table as markdown_table
from earlyexit.evaluation.costs import Costs, speedups
from earlyexit.evaluation.frontier import Point, fastest_within, point
from earlyexit.evaluation.per_image import Evaluation
from earlyexit.evaluation.statistics import Accuracy, accuracy
from earlyexit.paper import TABLE1
from earlyexit.policy import decision
from earlyexit.policy.search import NEVER
from earlyexit.policy.thresholds import Thresholds

TRADES = {"within_half_point": 0.005, "within_one_point": 0.01}
SPEEDUPS = ("speedup_macs", "speedup_measured", "speedup_emulated")
POLICIES = {"searched": ("accuracy", "speedup_emulated"), "guaranteed": ("accuracy", "risk", "speedup_emulated")}
_NUMBERS = ("early_exit_rate", "exit_share", "mean_macs", *SPEEDUPS)
WHOLE = "no_early_exit"
"""The row of the early-exit network with every image at the final exit."""
TEACHERS = {"teacher_fp32": "Teacher (FP32)", "teacher_int8": "Teacher (INT8)"}
UNPRUNED = "int8_unpruned"
"""The row of the baseline before pruning, where pruning changed it."""
NAMES = TEACHERS | {
    "fp32": "FP32 (PyTorch)",
    UNPRUNED: "INT8 (Baseline, unpruned)",
    "int8_baseline": "INT8 (Baseline)",
    WHOLE: "EE, no early exit",
}


def rows(
    evaluation: Evaluation,
    thresholds: Thresholds,
    costs: Mapping[str, Costs],
    cascade: Mapping[str, float],
    teacher: tuple[str, np.ndarray] | None = None,
    unpruned: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Return the rows of Table I: the FP32 network, the INT8 baseline, then the cascade at each percentile.

    The early-exit network without early exits stands before them. It was trained for longer than the baseline and had
    a teacher, so it is the fair reference for what an early exit loses. The bigger network that taught them stands
    first, where there is one. Where pruning changed the baseline, all speedups count from the pruned one, and the
    unpruned one is a row of its own.

    Args:
        evaluation: logits on the val split.
        thresholds: from the calibration split.
        costs: "macs", "measured" (microseconds) and "emulated" (cycles).
        cascade: measured microseconds per image of the cascade at each percentile, by name ("p50").
        teacher: "int8" or "fp32", and the bigger network's labels (N,) of the val split; None where there is none.
        unpruned: what the unpruned stage wrote: accuracy and costs of the baseline before pruning; None where pruning
            left it as it was.
    """
    labels, logits = evaluation.labels, evaluation.int8_early_exit
    baseline = accuracy(decision.labels(evaluation.int8_baseline[0]), labels)
    found = [] if teacher is None else [_row(f"teacher_{teacher[0]}", accuracy(teacher[1], labels))]
    found.append(_row("fp32", accuracy(decision.labels(evaluation.fp32_early_exit[-1]), labels)))
    if unpruned is not None:
        found.append(_unpruned(unpruned, costs))
    found += [
        _row("int8_baseline", baseline, mean_macs=costs["macs"].baseline, **dict.fromkeys(SPEEDUPS, 1.0)),
        _cascade(WHOLE, point(logits, labels, [NEVER] * (len(logits) - 1)), costs),
    ]
    for percentile in thresholds.table:
        name = f"p{percentile}"
        row = _cascade(name, point(logits, labels, thresholds.margins[percentile]), costs)
        found.append({**row, "speedup_measured": costs["measured"].baseline / cascade[name]})
    return found


def markdown(table: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table, the paper's columns beside ours."""
    lines = markdown_table(heads(table), map(cells, table))
    n = table[0]["n"]
    pruned = ", which is pruned" if any(row["configuration"] == UNPRUNED for row in table) else ""
    lines += [
        "",
        f"n = {n} val images; Wilson 95 % intervals; thresholds from the calibration split alone. Speedup over the "
        f"INT8 baseline{pruned}: in multiply-accumulates, in time on this machine, in estimated "
        "cycles of a Cortex-M4.",
    ]
    return "\n".join(lines) + "\n"


def heads(table: Sequence[dict[str, Any]]) -> list[str]:
    """Return the heads of the columns of Table I."""
    exits = max((len(row["exit_share"]) for row in table if row["exit_share"]), default=0)
    return [
        *("Model Conf.", "Val Acc. (%)", "95 % interval", "EE Rate (%)", "Exits " + "/".join(_exit_names(exits))),
        *("Mean MACs (M)", "Speedup (MACs)", "Speedup (measured)", "Speedup (Cortex-M4, estimated)"),
        *("paper: Acc. (%)", "paper: EE Rate (%)", "paper: Speedup"),
    ]


def cells(row: dict[str, Any]) -> list[str]:
    """Return a row of Table I as text, a cell for each of `heads`."""
    paper = row["paper"] or {}
    name = row["configuration"]
    shares = row["exit_share"]
    return [
        NAMES.get(name, f"EE ({name})"),
        percent(row["accuracy"]),
        f"{percent(row['accuracy_low'])}–{percent(row['accuracy_high'])}",
        percent(row["early_exit_rate"]),
        " / ".join(percent(share, 1) for share in shares) if shares else NOTHING,
        millions(row["mean_macs"]),
        *(times(row[key]) for key in SPEEDUPS),
        percent(paper.get("accuracy")),
        percent(paper.get("early_exit_rate")),
        times(paper.get("speedup")),
    ]


def metrics(
    table: Sequence[dict[str, Any]],
    classifiers: Mapping[str, float],
    curve: Sequence[dict[str, Any]],
    policies: Sequence[dict[str, Any]],
) -> dict[str, dict[str, float]]:
    """Return the numbers that two runs are compared by, for `dvc metrics diff`: one screen of them.

    These are the accuracy of each network and classifier, the rows of Table I, the best trades of the frontier, and
    the first searched policy and the guaranteed one. `within_half_point` and `within_one_point` are the frontier's
    fastest points whose accuracy is at most that much below the reference: the INT8 baseline, or the early-exit network
    without early exits where that is better.

    Args:
        table: result of `rows`.
        classifiers: accuracy of each classifier of the INT8 early-exit network by name, on val.
        curve: result of `frontier.curve`.
        policies: entries of reports/policies.json.
    """
    accuracies = {row["configuration"]: row["accuracy"] for row in table}
    found = {name: {"accuracy": accuracies[name]} for name in ("fp32", "int8_baseline")}
    found |= {name: {"accuracy": accuracy} for name, accuracy in classifiers.items()}
    for row in table:
        if row["configuration"] not in NAMES:
            found[row["configuration"]] = {key: row[key] for key in ("accuracy", "early_exit_rate", *SPEEDUPS)}
    reference = max(accuracies["int8_baseline"], accuracies[WHOLE])
    for name, loss in TRADES.items():
        if best := fastest_within(curve, reference, loss):
            found[name] = {key: best[key] for key in ("percentile", "speedup_measured")}
    for kind, keys in POLICIES.items():
        if policy := next((policy for policy in policies if policy["kind"] == kind), None):
            found[policy["name"]] = {key: policy["val"][key] for key in keys}
    return found


def _row(name: str, found: Accuracy, **numbers: Any) -> dict[str, Any]:
    return {
        "configuration": name,
        "accuracy": found.value,
        "accuracy_low": found.low,
        "accuracy_high": found.high,
        **dict.fromkeys(_NUMBERS),
        **numbers,
        "n": found.n,
        "paper": TABLE1.get(name),
    }


def _unpruned(found: Mapping[str, Any], costs: Mapping[str, Costs]) -> dict[str, Any]:
    return _row(
        UNPRUNED,
        Accuracy(**found["accuracy"]),
        mean_macs=found["macs"],
        speedup_macs=costs["macs"].baseline / found["macs"],
        speedup_measured=found["speedup_measured"],
        speedup_emulated=costs["emulated"].baseline / found["cycles"],
    )


def _cascade(name: str, found: Point, costs: Mapping[str, Costs]) -> dict[str, Any]:
    return _row(
        name,
        found.accuracy,
        early_exit_rate=found.early_exit_rate,
        exit_share=found.exit_share,
        mean_macs=costs["macs"].mean(found.exit_share),
        **speedups(costs, found.exit_share),
    )


def _exit_names(count: int) -> list[str]:
    return [str(i + 1) for i in range(count - 1)] + ["final"]
