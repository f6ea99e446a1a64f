"""`python -m experiments.readings [RUN...]`: which reading of the paper gives its early-exit rates and accuracies?

RUN is a folder of a finished run, or the name of experiments, such as seeds; without one it is the run in this folder.
Two tables: early exits, by whose confidences a percentile is taken of and how they are compared; INT8 accuracy, by
choices of the quantization (`experiments.choices`).
"""

import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from earlyexit.common.markdown import percent, table
from earlyexit.dataset import open_split
from earlyexit.evaluation import per_image
from earlyexit.paper import TABLE1
from earlyexit.policy import calibration, decision
from earlyexit.policy.thresholds import Scope, confidence_thresholds, integer_thresholds
from earlyexit.tflite import deployment
from earlyexit.tflite.segment import all_logits
from experiments import choices
from experiments.finished import folders, save, seed
from experiments.seeds import cell, over, spread
from stages import run

Rule = Literal["margin >", "softmax >", "softmax >="]
"""What an exit compares with its threshold: the real margin of its logits, or TFLite's INT8 softmax."""

PERCENTILES = (50, 75, 95)
TRAIN_IMAGES = 8000
"""Train images, at most, that thresholds are taken from."""
SCOPES: dict[Scope, str] = {"exit": "each exit", "pooled": "all early exits", "final": "the final classifier"}
"""Whose confidences a percentile is taken of."""
NEEDED = ["params.yaml", "data/packed", "models/export", "models/int8", "models/calibration.safetensors"]
NEEDED += ["models/evaluation"]

_MARGINS = np.arange(256)


def levels(scale: float, rule: Rule) -> np.ndarray:
    """Return the confidence of the integer margins 0 to 255 of logits with `scale`, (256,).

    TFLite's INT8 softmax has the scale 1/256 and the zero point -128, so its largest probability is 255/256.
    """
    if rule == "margin >":
        return _MARGINS * scale
    found: np.ndarray = np.minimum(np.rint(256 * decision.confidence(_MARGINS, scale)), 255)
    return found


def thresholds(margins: np.ndarray, scales: Sequence[float], percentile: int, scope: Scope, rule: Rule) -> list[int]:
    """Return the integer margin that an image must exceed at each early exit, under one reading.

    Args:
        margins: integer margins of every classifier, (classifiers, N), the final one's last.
        scales: of the classifiers' INT8 logits.
        percentile: of the confidences, 0 to 100.
        scope, rule: the reading.
    """
    table_ = np.stack([levels(scale, rule) for scale in scales])
    limits = confidence_thresholds(np.take_along_axis(table_, margins, axis=1), percentile, scope)
    # The softmax has integer levels: at least a level is more than the level below.
    return integer_thresholds(table_[:-1], limits - (rule == "softmax >="))


def readings(folder: Path) -> list[dict[str, Any]]:
    """Return early-exit rate and accuracy on val at each percentile, for every reading of the run in `folder`."""
    network = deployment.load(folder / "models" / "int8" / "early_exit")
    val = per_image.load(folder / "models" / "evaluation" / "val.safetensors")
    train = network.quantize(open_split(folder / "data" / "packed", "train").images[:TRAIN_IMAGES])
    logits = {
        "calibration": calibration.load(folder / "models" / "calibration.safetensors").logits,
        "train": all_logits(network.segments(), train, "train images"),
    }
    scales = network.logits_scales()
    return [
        {
            "scope": scope,
            "rule": rule,
            "source": source,
            "images": logits[source].shape[1],
            "n": len(val.labels),
            **{
                f"p{percentile}": _decided(
                    val, thresholds(decision.margins(logits[source]), scales, percentile, scope, rule)
                )
                for percentile in PERCENTILES
            },
        }
        for source, scope, rule in product(logits, get_args(Scope), get_args(Rule))
    ]


def summarize(runs: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return each reading with the mean and the deviation, over runs, of its rates and accuracies."""
    names = [f"p{percentile}" for percentile in PERCENTILES]
    return [
        {
            **{key: value for key, value in rows[0].items() if key not in names},
            **{name: {key: spread([row[name][key] for row in rows]) for key in rows[0][name]} for name in names},
        }
        for rows in zip(*runs, strict=True)
    ]


def markdown(summary: Sequence[dict[str, Any]], seeds: Sequence[int]) -> str:
    """Return the readings as a Markdown table, beside the paper's numbers, and what they can explain."""
    names = [f"p{percentile}" for percentile in PERCENTILES]
    keys = ("early_exit_rate", "accuracy")
    heads = ["Confidences of", "Compared", "Images", *(f"EE Rate {name} (%)" for name in names)]
    rows = [
        [
            SCOPES[row["scope"]],
            row["rule"],
            row["source"],
            *(cell(row[name][key], 100) for key in keys for name in names),
        ]
        for row in summary
    ]
    rows.append(["paper", "", "", *(percent(TABLE1[name][key]) for key in keys for name in names)])
    nearest = min(summary, key=_distance)
    images = {row["source"]: row["images"] for row in summary}
    lines = [
        *table([*heads, *(f"Acc. {name} (%)" for name in names)], rows, labels=3),
        "",
        f"INT8, n = {summary[0]['n']:,} val images; {over(seeds)}. A threshold is a percentile of the confidences of "
        f"each exit, of all early exits together, or of the final classifier, over {images['calibration']:,} images "
        f"held out of train (calibration) or {images['train']:,} images of train itself. Margin: of the INT8 logits. "
        "Softmax: TFLite's INT8 softmax (scale 1/256, at most 255/256).",
        "",
        f"Readings with a p95 rate below 5 %: {_low(summary)}.",
        "",
        f"Nearest to the paper's three rates: {_name(nearest)}, on average {100 * _distance(nearest):.1f} points away.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write reports/sweeps/readings.json and .md, and the same of quantization."""
    seeds, read, quantized = [], [], []
    for number, folder in enumerate(folders(sys.argv[1:] or ["."], NEEDED)):
        seeds.append(seed(folder))
        print(f"run {number + 1}: seed {seeds[-1]}")
        read.append(readings(folder))
        quantized.append(choices.measure(folder, draw=number))
    summary = summarize(read)
    save("readings", {"seeds": seeds, "readings": summary}, markdown(summary, seeds))
    found = choices.summarize(quantized)
    save("quantization", {"seeds": seeds, **found}, choices.markdown(found, seeds))


def _decided(val: per_image.Evaluation, row: list[int]) -> dict[str, float]:
    decided = decision.decide(val.int8_early_exit, row)
    final = decision.exit_shares(decided.exits, len(val.int8_early_exit))[-1]
    return {"early_exit_rate": 1 - final, "accuracy": float(np.mean(decided.labels == val.labels))}


def _distance(row: dict[str, Any]) -> float:
    """Return the mean absolute difference of a reading's rates from the paper's."""
    names = [f"p{percentile}" for percentile in PERCENTILES]
    return float(np.mean([abs(row[name]["early_exit_rate"]["mean"] - _paper(name)) for name in names]))


def _low(summary: Sequence[dict[str, Any]]) -> str:
    """Return the readings with a p95 rate below 5 % in words; those of one rule together where all of them are."""
    found = []
    for rule in get_args(Rule):
        rows = [row for row in summary if row["rule"] == rule]
        low = [row for row in rows if row["p95"]["early_exit_rate"]["mean"] < 0.05]
        found += [f"all with {rule}"] if low == rows else [_name(row) for row in low]
    return "; ".join(found) or "none"


def _paper(name: str) -> float:
    rate = TABLE1[name]["early_exit_rate"]
    assert rate is not None
    return rate


def _name(row: dict[str, Any]) -> str:
    return f"{row['rule']} with confidences of {SCOPES[row['scope']]} on {row['source']} images"


if __name__ == "__main__":
    run(main)
