"""What exit policies keep on images of another kind than those that their thresholds come from.

The remedy is the guaranteed policy with thresholds from photographs of the camera itself, without labels: chosen on one
half of the images, judged on the other.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from earlyexit.common.markdown import percent, percent_within, table, thousands, times
from earlyexit.evaluation.costs import Costs
from earlyexit.evaluation.statistics import accuracy, share
from earlyexit.policy import decision
from earlyexit.policy.guarantee import guarantee
from earlyexit.policy.policies import Policies
from earlyexit.reports.policies import kept
from earlyexit.task import in_calibration

CLEAN = "clean"
CAMERA = "shift.folder"
_BEFORE, _REMEDY = "calibration images", "the camera"


@dataclass(frozen=True)
class Shifted:
    """What the network says of N images.

    Attributes:
        name: of the shift.
        words: what the images are.
        ids: of the images, (N,).
        labels: of the images, (N,).
        logits: INT8 (classifiers, N, 2), the final classifier's last.
    """

    name: str
    words: str
    ids: np.ndarray
    labels: np.ndarray
    logits: np.ndarray


@dataclass(frozen=True)
class Table:
    """A table of the report: the first `words` columns hold words, the others numbers."""

    title: str
    heads: list[str]
    rows: list[list[str]]
    words: int = 1


def report(policies: Policies, shifts: Sequence[Shifted], costs: Mapping[str, Costs]) -> dict[str, Any]:
    """Return what each policy does on the images of each shift, and what the remedy does.

    Args:
        policies: from the policy stage.
        shifts: the clean images first.
        costs: "macs" and "emulated" (cycles).
    """
    return {
        "risk": policies.risk,
        "delta": policies.delta,
        "shifts": [
            {
                "shift": one.name,
                "words": one.words,
                "n": len(one.labels),
                "whole": asdict(accuracy(decision.labels(one.logits[-1]), one.labels)),
                "policies": {
                    policy.name: kept(policy.thresholds, policy.patience, one.logits, one.labels, costs, labelled=True)
                    for policy in policies.policies
                },
                "remedy": remedy(policies, one, costs),
            }
            for one in shifts
        ],
    }


def remedy(policies: Policies, one: Shifted, costs: Mapping[str, Costs]) -> dict[str, Any] | None:
    """Choose the guaranteed policy's thresholds on one half of the images without labels, judge them on the other.

    Returns:
        both sets of thresholds, the calibration images' and the camera's, on the other half: what `kept` returns, and
        "differs", the share of images answered otherwise than by the whole network, which is what the camera's
        thresholds promise. None where a hash of the ids puts all images into one half.
    """
    chosen = half(one.ids)
    if chosen.all() or not chosen.any():
        return None
    logits, labels = one.logits[:, ~chosen], one.labels[~chosen]
    answers = decision.labels(one.logits)[:, chosen]
    margins = decision.margins(one.logits)[:-1, chosen]
    found = guarantee(margins, answers, None, policies.costs, policies.risk, policies.delta)
    thresholds = {_BEFORE: policies.named("guaranteed").thresholds, _REMEDY: found.thresholds}
    whole = decision.labels(logits[-1])
    return {
        "chosen_on": len(margins[0]),
        "tested": found.tested,
        "failures": found.failures,
        "n": len(labels),
        "thresholds_from": {
            source: {
                "thresholds": row,
                **kept(row, 0, logits, labels, costs, labelled=True),
                "differs": asdict(share(decision.decide(logits, row).labels != whole)),
            }
            for source, row in thresholds.items()
        },
    }


def half(ids: np.ndarray) -> np.ndarray:
    """Return which images thresholds are chosen on: about half of them, by a hash of the image id; bool (N,)."""
    return np.array([in_calibration(int(id_), 0.5) for id_ in ids], bool)


def tables(found: Mapping[str, Any]) -> list[Table]:
    """Return the tables of a report."""
    shifts = found["shifts"]
    names = list(shifts[0]["policies"])
    heads = ["Images", "n", "Whole network", *names]
    return [
        Table(
            "Accuracy (%)",
            heads,
            [
                [*_images(row), _within(row["whole"]), *_cells(row, lambda entry: _interval(entry, "accuracy", 1))]
                for row in shifts
            ],
        ),
        Table(
            "Images that leave early (%)",
            ["Images", "n", *names],
            [[*_images(row), *_cells(row, lambda entry: percent(entry["early_exit_rate"], 1))] for row in shifts],
        ),
        Table(
            "Risk (%): images that the cascade gets wrong and the whole network right",
            ["Images", "n", *names],
            [[*_images(row), *_cells(row, lambda entry: _interval(entry, "risk", 2))] for row in shifts],
        ),
        Table(
            "Loss (points): accuracy of the whole network minus that of the cascade",
            ["Images", "n", *names],
            [[*_images(row), *_cells(row, lambda entry: percent(entry["loss"]))] for row in shifts],
        ),
        Table(
            "The guaranteed policy with thresholds from the calibration images, and from the camera's own images "
            "without labels; judged on other images of the camera",
            [
                "Images",
                "Thresholds from",
                "n",
                "Accuracy (%)",
                "Leave early (%)",
                "Risk (%)",
                "Answered otherwise than by the whole network (%)",
                "Speedup (Cortex-M4)",
            ],
            [cells for row in shifts if row["remedy"] for cells in _remedies(row)],
            words=2,
        ),
    ]


def markdown(found: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""
    lines = []
    for one in tables(found):
        lines += [f"{one.title}:", "", *table(one.heads, one.rows, one.words), ""]
    return "\n".join([*lines, notes(found)]) + "\n"


def notes(found: Mapping[str, Any]) -> str:
    """Return what the tables show, in sentences."""
    kinds = "; ".join(f"{row['shift']}: {row['words']}" for row in found["shifts"])
    return (
        f"INT8, 95 % intervals. {kinds}. The guaranteed policy promises a risk of at most {percent(found['risk'])} % "
        f"with delta {found['delta']:g}, on images like those that its thresholds come from. Without labels the "
        "promise is about images answered otherwise than by the whole network, of which the risk is a part. Thresholds "
        "of the camera come from one half of its images, chosen by a hash of the image id."
    )


def _images(row: Mapping[str, Any]) -> list[str]:
    return [row["shift"], thousands(row["n"])]


def _cells(row: Mapping[str, Any], cell: Callable[[Mapping[str, Any]], str]) -> Iterable[str]:
    return map(cell, row["policies"].values())


def _remedies(row: Mapping[str, Any]) -> list[list[str]]:
    remedied = row["remedy"]
    counts = {_BEFORE: _BEFORE, _REMEDY: f"{thousands(remedied['chosen_on'])} images of {_REMEDY}"}
    return [
        [
            row["shift"],
            counts[source],
            thousands(remedied["n"]),
            _interval(entry, "accuracy", 1),
            percent(entry["early_exit_rate"], 1),
            _interval(entry, "risk", 2),
            _within(entry["differs"], 2),
            times(entry["speedup_emulated"]),
        ]
        for source, entry in remedied["thresholds_from"].items()
    ]


def _interval(entry: Mapping[str, Any], key: str, digits: int) -> str:
    return percent_within(entry[key], entry[f"{key}_low"], entry[f"{key}_high"], digits)


def _within(found: Mapping[str, Any], digits: int = 1) -> str:
    return percent_within(found["value"], found["low"], found["high"], digits)
