"""Table I: the paper's rows beside ours."""

from collections.abc import Mapping, Sequence
from typing import Any

from earlyexit.common.markdown import NOTHING, millions, percent, times
from earlyexit.common.markdown import table as markdown_table
from earlyexit.evaluation.frontier import fastest_within, point
from earlyexit.evaluation.per_image import Evaluation
from earlyexit.evaluation.statistics import Accuracy, accuracy
from earlyexit.paper import TABLE1
from earlyexit.policy import decision
from earlyexit.policy.thresholds import Thresholds

TRADES = {"within_half_point": 0.005, "within_one_point": 0.01}
_SPEEDUPS = ("speedup_macs", "speedup_measured", "speedup_emulated")
_NUMBERS = ("early_exit_rate", "exit_share", "mean_macs", *_SPEEDUPS)
NAMES = {"fp32": "FP32 (PyTorch)", "int8_baseline": "INT8 (Baseline)"}


def rows(
    evaluation: Evaluation,
    thresholds: Thresholds,
    macs: Sequence[int],
    baseline_macs: int,
    latency: dict[str, Any],
    emulated: dict[str, Any],
) -> list[dict[str, Any]]:
    """Return the rows of Table I: the FP32 network, the INT8 baseline, then the cascade at each percentile.

    Args:
        evaluation: logits on the val split.
        thresholds: from the calibration split.
        macs: of each segment of the early-exit network.
        baseline_macs: of the network without exits.
        latency: report of the benchmark stage.
        emulated: report of the emulate stage.
    """
    labels = evaluation.labels
    fp32 = accuracy(decision.labels(evaluation.fp32_early_exit[-1]), labels)
    baseline = accuracy(decision.labels(evaluation.int8_baseline[0]), labels)
    times = list(latency["segments"].values())
    found = [
        _row("fp32", fp32),
        _row("int8_baseline", baseline, mean_macs=baseline_macs, **dict.fromkeys(_SPEEDUPS, 1.0)),
    ]
    for percentile in thresholds.table:
        name = f"p{percentile}"
        ours = point(evaluation.int8_early_exit, labels, thresholds.margins[percentile], macs, times)
        found.append(
            _row(
                name,
                ours.accuracy,
                early_exit_rate=ours.early_exit_rate,
                exit_share=ours.exit_share,
                mean_macs=ours.mean_macs,
                speedup_macs=baseline_macs / ours.mean_macs,
                speedup_measured=latency["baseline"] / latency["cascade"][name],
                speedup_emulated=emulated["cascade"][name]["speedup"],
            )
        )
    return found


def markdown(table: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table, the paper's columns beside ours."""
    exits = max((len(row["exit_share"]) for row in table if row["exit_share"]), default=0)
    heads = ["Model Conf.", "Val Acc. (%)", "95 % interval", "EE Rate (%)", "Exits " + "/".join(_exit_names(exits))]
    heads += ["Mean MACs (M)", "Speedup (MACs)", "Speedup (measured)", "Speedup (Cortex-M4, estimated)"]
    heads += ["paper: Acc. (%)", "paper: EE Rate (%)", "paper: Speedup"]
    lines = markdown_table(heads, map(_cells, table))
    n = table[0]["n"]
    lines += [
        "",
        f"n = {n} val images; Wilson 95 % intervals; thresholds from the calibration split alone. Speedup over the "
        "INT8 baseline: in multiply-accumulates, in time on this machine, in estimated "
        "cycles of a Cortex-M4.",
    ]
    return "\n".join(lines) + "\n"


def metrics(
    table: Sequence[dict[str, Any]], classifiers: Mapping[str, float], curve: Sequence[dict[str, Any]]
) -> dict[str, dict[str, float]]:
    """Return the numbers that two runs are compared by, for `dvc metrics diff`: one screen of them.

    These are the accuracy of each network and classifier, the rows of Table I, and the best trades of the frontier:
    `within_half_point` and `within_one_point` are its fastest points whose accuracy is at most that much below the
    INT8 baseline's.

    Args:
        table: result of `rows`.
        classifiers: accuracy of each classifier of the INT8 early-exit network by name, on val.
        curve: result of `frontier.curve`.
    """
    accuracies = {row["configuration"]: row["accuracy"] for row in table}
    found = {name: {"accuracy": accuracies[name]} for name in NAMES}
    found |= {name: {"accuracy": accuracy} for name, accuracy in classifiers.items()}
    for row in table:
        if row["configuration"] not in NAMES:
            found[row["configuration"]] = {key: row[key] for key in ("accuracy", "early_exit_rate", *_SPEEDUPS)}
    for name, loss in TRADES.items():
        if best := fastest_within(curve, accuracies["int8_baseline"], loss):
            found[name] = {key: best[key] for key in ("percentile", "speedup_measured")}
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


def _cells(row: dict[str, Any]) -> list[str]:
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
        *(times(row[key]) for key in _SPEEDUPS),
        percent(paper.get("accuracy")),
        percent(paper.get("early_exit_rate")),
        times(paper.get("speedup")),
    ]


def _exit_names(count: int) -> list[str]:
    return [str(i + 1) for i in range(count - 1)] + ["final"]
