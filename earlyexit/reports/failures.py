"""Where the network fails: accuracy and exits by the size of the largest person and by brightness."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from earlyexit.common.markdown import percent, percent_within, table, thousands
from earlyexit.evaluation.per_image import Evaluation
from earlyexit.evaluation.statistics import share
from earlyexit.policy import decision
from earlyexit.policy.policies import Policy

SIZES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Inner edges of the bins of the largest person's share of the image."""
QUANTILES = 5
"""Bins of brightness, each with as many images as the others."""
NONE = "none"
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
KINDS = {"size": "Largest person's share of the image", "brightness": "Mean luma, 0 to 1"}
"""What the images are divided by, with the title of its column."""


def person_shares(packed: Path, ids: np.ndarray) -> np.ndarray:
    """Return the share of each val image that its largest person covers, as the label rule measures it; 0 for none.

    Args:
        packed: the folder that the prepare stage wrote.
        ids: of the val images, (N,).
    """
    index = pd.read_csv(packed / "index.csv")
    val = index[index["split"] == "val"].set_index("id")
    found: np.ndarray = val.loc[ids, "person_share"].to_numpy(np.float64)
    return found


def mean_lumas(images: np.ndarray) -> np.ndarray:
    """Return the mean luma, 0 to 1, of uint8 images (N, H, W, 3)."""
    found: np.ndarray = images.reshape(len(images), -1, 3).mean(1) @ _LUMA / 255
    return found


def report(
    evaluation: Evaluation,
    names: Sequence[str],
    policies: Sequence[Policy],
    sizes: np.ndarray,
    lumas: np.ndarray,
) -> dict[str, Any]:
    """Return the accuracy of each classifier alone and of each cascade for the images of each bin.

    Args:
        evaluation: logits on the val split.
        names: of the classifiers.
        policies: of the cascades.
        sizes: what `person_shares` returns, (N,).
        lumas: what `mean_lumas` returns, (N,).

    Returns:
        for "size" and "brightness" the bins in ascending order, empty ones left out.
    """
    n = len(evaluation.labels)
    return {
        "n": n,
        "classifiers": list(names),
        "policies": [policy.name for policy in policies],
        "size": [
            {"bin": name, **_inside(evaluation, policies, chosen)} for name, chosen in by_size(sizes) if chosen.any()
        ],
        "brightness": [
            {"bin": name, **_inside(evaluation, policies, chosen)}
            for name, chosen in by_brightness(lumas)
            if chosen.any()
        ],
    }


def by_size(sizes: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Return the bins of size, each with its name and the images in it, bool (N,).

    The first holds the images without a person. Each other bin holds its lower edge, the last one its upper edge too.
    """
    places = np.where(sizes > 0, 1 + np.digitize(sizes, SIZES), 0)
    edges = pairwise((0, *SIZES, 1))
    names = [NONE, *(f"{100 * low:g} to {100 * high:g} %" for low, high in edges)]
    return [(name, places == place) for place, name in enumerate(names)]


def by_brightness(lumas: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Return the bins of brightness, from dark to bright, as `by_size` does."""
    edges = np.quantile(lumas, np.linspace(0, 1, QUANTILES + 1))
    places = np.digitize(lumas, edges[1:-1])
    return [(f"{low:.3f} to {high:.3f}", places == place) for place, (low, high) in enumerate(pairwise(edges))]


def markdown(found: Mapping[str, Any]) -> str:
    """Return a Markdown table for size and one for brightness, with their notes."""
    exits = "/".join([*(str(number) for number in range(1, len(found["classifiers"]))), "final"])
    lines: list[str] = []
    for kind, title in KINDS.items():
        heads = [title, "n", *(f"{name}: Acc. (%)" for name in found["classifiers"])]
        for name in found["policies"]:
            heads += [f"{name}: Acc. (%)", f"{name}: leave early (%)", f"{name}: exits {exits} (%)"]
        lines += [*table(heads, [_cells(row) for row in found[kind]]), ""]
    lines += [
        f"n = {thousands(found['n'])} val images, INT8, Wilson 95 % intervals. {NONE}: no person is annotated. "
        "Persons smaller than the label rule asks for leave the label at no person. exit1 and so on: each classifier "
        "alone, on all images of the row."
    ]
    return "\n".join(lines) + "\n"


def _inside(evaluation: Evaluation, policies: Sequence[Policy], chosen: np.ndarray) -> dict[str, Any]:
    logits, labels = evaluation.int8_early_exit[:, chosen], evaluation.labels[chosen]
    return {
        "n": len(labels),
        "accuracy": [asdict(share(row == labels)) for row in decision.labels(logits)],
        "cascades": {policy.name: _cascade(logits, labels, policy) for policy in policies},
    }


def _cascade(logits: np.ndarray, labels: np.ndarray, policy: Policy) -> dict[str, Any]:
    decided = decision.decide(logits, policy.thresholds, policy.patience)
    return {
        "accuracy": asdict(share(decided.labels == labels)),
        "early_exit_rate": asdict(share(decided.exits < len(logits) - 1)),
        "exit_share": decision.exit_shares(decided.exits, len(logits)),
    }


def _cells(row: Mapping[str, Any]) -> list[str]:
    cells = [row["bin"], thousands(row["n"]), *map(_within, row["accuracy"])]
    for entry in row["cascades"].values():
        cells += [_within(entry["accuracy"]), _within(entry["early_exit_rate"])]
        cells += [" / ".join(percent(one, 1) for one in entry["exit_share"])]
    return cells


def _within(found: Mapping[str, Any]) -> str:
    return percent_within(found["value"], found["low"], found["high"], 1)
