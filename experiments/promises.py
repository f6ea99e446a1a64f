"""`python -m experiments.promises`: how often the promise of the guaranteed policy is broken.

It reads the finished run in this folder. Two tables: many calibration splits drawn from the val images, and other
cameras, imitated on the calibration and val images.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from earlyexit.common.files import read_json
from earlyexit.common.markdown import percent, percent_within, table, times
from earlyexit.dataset import open_split
from earlyexit.evaluation import costs, per_image
from earlyexit.evaluation.costs import Costs
from earlyexit.evaluation.statistics import Accuracy, share
from earlyexit.params import PolicyParams, load
from earlyexit.policy import calibration, decision
from earlyexit.policy.guarantee import guarantee
from earlyexit.policy.search import risk_penalty
from earlyexit.shift.answers import answers
from earlyexit.tflite import deployment
from experiments.finished import save
from stages import run

SPLITS = 1000
"""Calibration splits that are drawn from the val images."""
DRAWS, CAMERA_IMAGES = 100, 500
"""Sets of unlabelled images of a camera, and images of each."""


def simulate(logits: np.ndarray, truth: np.ndarray, n: int, cost: Costs, params: PolicyParams) -> dict[str, Any]:
    """Promise on each of `SPLITS` calibration splits of `n` images, drawn with replacement from a population.

    Args:
        logits, truth: of the population, which the true risk is counted on: INT8 (classifiers, N, 2), and labels (N,).
        n: images of a calibration split.
        cost: of an image at each classifier.
        params: risk and delta.

    Returns:
        the share of broken promises with its interval, and means over the splits.
    """
    rng = np.random.default_rng(0)
    risks, speedups = [], []
    for _ in tqdm(range(SPLITS), desc="calibration splits", unit="split"):
        chosen = rng.choice(len(truth), n)
        found = _kept(_promise(logits[:, chosen], truth[chosen], cost, params), logits, truth, cost)
        risks.append(found["risk"].value)
        speedups.append(found["speedup"])
    return {
        "n": n,
        "splits": SPLITS,
        "population": len(truth),
        "broken": vars(share(np.array(risks) > params.risk)),
        "risk": float(np.mean(risks)),
        "speedup": float(np.mean(speedups)),
    }


def cameras(
    clean: np.ndarray, corrupted: Mapping[str, np.ndarray], truth: np.ndarray, cost: Costs, params: PolicyParams
) -> list[dict[str, Any]]:
    """Promise on clean and on corrupted images without labels; return what is kept on other corrupted images.

    Args:
        clean, corrupted: INT8 logits (classifiers, N, 2) of images that the network was not trained on, and of the same
            images as each camera takes them.
        truth: labels (N,).
        cost: of an image at each classifier.
        params: risk and delta.
    """
    rows = []
    for name, shifted in {"as calibrated": clean, **corrupted}.items():
        accuracy = float(np.mean(decision.labels(shifted[-1]) == truth))
        for source, logits in (("clean images", clean), ("the camera", shifted)):
            kept = _draws(logits, shifted, cost, params)
            rows.append({"camera": name, "source": source, "accuracy": accuracy, **kept})
    return rows


def markdown(simulated: dict[str, Any], shifted: Sequence[dict[str, Any]], params: PolicyParams) -> str:
    """Return both tables as Markdown."""
    rows = [
        [
            row["camera"],
            row["source"],
            percent(row["accuracy"]),
            percent(row["risk"]),
            _with_interval(row["broken"]),
            times(row["speedup"]),
        ]
        for row in shifted
    ]
    heads = ["Camera", "Promise from", "Whole network (%)", "Mean risk (%)", "Broken promises (%)"]
    promised = f"a risk of {percent(params.risk)} % promised with delta {params.delta:g}"
    lines = [
        f"{simulated['splits']:,} calibration splits of {simulated['n']:,} images, drawn with replacement from the "
        f"{simulated['population']:,} val images: {promised} is broken in {_with_interval(simulated['broken'])} % of "
        f"them. Mean risk {percent(simulated['risk'])} %, mean speedup {times(simulated['speedup'])} (Cortex-M4).",
        "",
        *table([*heads, "Mean speedup (Cortex-M4)"], rows, labels=2),
        "",
        f"Each row: {DRAWS} random sets of {CAMERA_IMAGES} images without labels, {promised}, judged on the "
        f"{shifted[0]['n']:,} other images of the calibration and val splits, as the camera takes them. Risk: share of "
        "images answered otherwise than by the whole network. 95 % intervals; the sets overlap.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write reports/sweeps/promises.json and .md."""
    params = load().policy
    cost = costs.emulated(read_json("reports/emulated.json"))
    val = per_image.load(Path("models/evaluation/val.safetensors"))
    given = calibration.load("models/calibration.safetensors")
    simulated = simulate(val.int8_early_exit, val.labels, given.logits.shape[1], cost, params)
    splits = [open_split("data/packed", name) for name in ("calibration", "val")]
    images, ids = (np.concatenate([getattr(split, name) for split in splits]) for name in ("images", "ids"))
    corrupted = answers(deployment.load(Path("models/int8/early_exit")), images, ids)
    clean = np.concatenate([given.logits, val.int8_early_exit], axis=1)
    shifted = cameras(clean, corrupted, np.concatenate([split.labels for split in splits]), cost, params)
    save("promises", {"simulated": simulated, "cameras": shifted}, markdown(simulated, shifted, params))


def _draws(logits: np.ndarray, shifted: np.ndarray, cost: Costs, params: PolicyParams) -> dict[str, Any]:
    """Promise on sets of images, judge each promise on the camera's other images."""
    rng = np.random.default_rng(0)
    found = []
    for _ in tqdm(range(DRAWS), desc="sets of images", unit="set"):
        order = rng.permutation(logits.shape[1])
        chosen, others = order[:CAMERA_IMAGES], order[CAMERA_IMAGES:]
        found.append(_kept(_promise(logits[:, chosen], None, cost, params), shifted[:, others], None, cost))
    return {
        "n": logits.shape[1] - CAMERA_IMAGES,
        "risk": float(np.mean([one["risk"].value for one in found])),
        "broken": vars(share(np.array([one["risk"].value > params.risk for one in found]))),
        "speedup": float(np.mean([one["speedup"] for one in found])),
    }


def _promise(logits: np.ndarray, truth: np.ndarray | None, cost: Costs, params: PolicyParams) -> list[int]:
    margins, answers = decision.margins(logits)[:-1], decision.labels(logits)
    return guarantee(margins, answers, truth, cost.until, params.risk, params.delta).thresholds


def _kept(thresholds: list[int], logits: np.ndarray, truth: np.ndarray | None, cost: Costs) -> dict[str, Any]:
    """Return the risk and the speedup of a policy on images, with labels or without."""
    exits = decision.decide(logits, thresholds).exits
    penalty = risk_penalty(decision.labels(logits), truth)
    risk: Accuracy = share(penalty[exits, np.arange(len(exits))] > 0)
    return {"risk": risk, "speedup": cost.speedup(decision.exit_shares(exits, len(logits)))}


def _with_interval(found: dict[str, float]) -> str:
    return percent_within(found["value"], found["low"], found["high"], 1)


if __name__ == "__main__":
    run(main)
