"""Report for each classifier how reliable its confidence is, and its gain in accuracy per multiply-accumulate (MAC)."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from earlyexit.common.markdown import NOTHING, millions, percent, table
from earlyexit.evaluation.per_image import Evaluation
from earlyexit.evaluation.statistics import BINS, accuracy, auroc, calibration_error, paired_difference
from earlyexit.policy import decision
from earlyexit.task import CLASSES

CONSTANT = "constant"


def report(
    evaluation: Evaluation, names: Sequence[str], scales: Sequence[float], macs: Sequence[int]
) -> dict[str, Any]:
    """Return the scores of each classifier by itself, on all val images.

    The gain of a classifier is its accuracy minus that of the best classifier before it, the first of equals. The first
    classifier is compared with the constant answer: the more frequent class of val, which costs nothing. A classifier
    is useless if its gain is not positive.

    Args:
        evaluation: logits on the val split.
        names, scales, macs: of the classifiers, of their INT8 logits, of the segments; the final one's last.

    Raises:
        ValueError: these do not fit the evaluation; a segment without MACs; no images.
    """
    _check(evaluation, names, scales, macs)
    labels = evaluation.labels
    majority = int(np.bincount(labels, minlength=len(CLASSES)).argmax())
    best, best_answers, best_macs = CONSTANT, np.full(len(labels), majority), 0
    constant = accuracy(best_answers, labels)
    entries: dict[str, Any] = {}
    for index, (name, scale) in enumerate(zip(names, scales, strict=True)):
        int8, fp32 = evaluation.int8_early_exit[index], evaluation.fp32_early_exit[index].astype(np.float64)
        answers, until = decision.labels(int8), sum(macs[: index + 1])
        difference = paired_difference(answers, best_answers, labels)
        entries[name] = {
            "macs": until,
            **_scores(answers, decision.margins(int8), scale, labels),
            "fp32": _scores(decision.labels(fp32), np.abs(fp32[:, 1] - fp32[:, 0]), 1.0, labels),
            "gain": {
                "over": best,
                "accuracy": asdict(difference),
                "macs": until - best_macs,
                "points_per_million_macs": 1e8 * difference.value / (until - best_macs),
            },
            "useless": difference.value <= 0,
        }
        if difference.value > 0:
            best, best_answers, best_macs = name, answers, until
    return {
        "n": len(labels),
        "bins": BINS,
        CONSTANT: {"answer": CLASSES[majority], "accuracy": asdict(constant)},
        "classifiers": entries,
    }


def markdown(found: dict[str, Any]) -> str:
    """Return the report as a Markdown table, and the useless classifiers below it."""
    heads = ["INT8", "MACs (M)", "Val Acc. (%)", "95 % interval", "FP32: Acc. (%)", "Mean conf. (%)"]
    heads += ["AUROC", "ECE (%)", "Over", "Gain (points)", "95 % interval", "Points per M MACs"]
    lines = table(heads, [_cells(name, entry) for name, entry in found["classifiers"].items()])
    lines += [
        "",
        f"n = {found['n']} val images, all of them shown to each classifier. AUROC: the chance that a right answer is "
        f"surer than a wrong one. ECE: expected calibration error, {found['bins']} bins. Gain: over the best before it "
        f'(constant: always answering "{found[CONSTANT]["answer"]}"), the same images, Newcombe\'s interval; '
        "accuracy: Wilson's.",
        "",
        *(_verdicts(found) or ["Each classifier is better than those before it."]),
    ]
    return "\n".join(lines) + "\n"


def _check(evaluation: Evaluation, names: Sequence[str], scales: Sequence[float], macs: Sequence[int]) -> None:
    count = len(evaluation.int8_early_exit)
    if not len(names) == len(scales) == len(macs) == count:
        raise ValueError(
            f"{len(names)} names, {len(scales)} scales and {len(macs)} MACs for an evaluation of {count} classifiers; "
            "rerun the evaluate stage"
        )
    if min(macs) <= 0:
        raise ValueError(f"MACs of the segments are {list(macs)}: each must be positive")


def _scores(answers: np.ndarray, margins: np.ndarray, scale: float, labels: np.ndarray) -> dict[str, Any]:
    right, confidence = answers == labels, decision.confidence(margins, scale)
    return {
        "accuracy": asdict(accuracy(answers, labels)),
        "mean_confidence": float(confidence.mean()),
        "auroc": auroc(margins, right),
        "ece": calibration_error(confidence, right),
    }


def _cells(name: str, entry: dict[str, Any]) -> list[str]:
    own, gain = entry["accuracy"], entry["gain"]
    change = gain["accuracy"]
    return [
        name,
        millions(entry["macs"]),
        percent(own["value"]),
        f"{percent(own['low'])}–{percent(own['high'])}",
        percent(entry["fp32"]["accuracy"]["value"]),
        percent(entry["mean_confidence"]),
        NOTHING if entry["auroc"] is None else f"{entry['auroc']:.3f}",
        percent(entry["ece"]),
        gain["over"],
        _points(change["value"]),
        f"{_points(change['low'])} to {_points(change['high'])}",
        f"{gain['points_per_million_macs']:+.2f}",
    ]


def _verdicts(found: dict[str, Any]) -> list[str]:
    """Return a Markdown list item for each useless classifier."""
    entries = found["classifiers"]
    last = list(entries)[-1]
    lines = []
    for name, entry in entries.items():
        if not entry["useless"]:
            continue
        over = entry["gain"]["over"]
        better = {"macs": 0, **found[CONSTANT]} if over == CONSTANT else entries[over]
        advice = "a network that ends there is no worse" if name == last else "take it out of `exits`"
        lines.append(f"- {name} is useless: {_price(entry)}, not better than {over} ({_price(better)}); {advice}.")
    return lines


def _price(entry: dict[str, Any]) -> str:
    return f"{percent(entry['accuracy']['value'])} % at {millions(entry['macs'])} M MACs"


def _points(value: float) -> str:
    return f"{100 * value:+.2f}"
