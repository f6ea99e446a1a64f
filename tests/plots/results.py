"""Results of a network that does not exist, but whose later exits are better."""

from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from earlyexit.evaluation.costs import Costs
from earlyexit.evaluation.per_image import Evaluation
from earlyexit.policy import decision
from earlyexit.policy.calibration import Calibration
from earlyexit.policy.policies import Policies, choose
from earlyexit.policy.thresholds import Thresholds, calibrate
from earlyexit.reports.shift import Shifted

MACS = [400, 300, 200, 500]
BASELINE_MACS = 1300


def names(exits: int) -> list[str]:
    return [f"exit{i + 1}" for i in range(exits)] + ["final"]


def scales(exits: int) -> list[float]:
    return [0.04 + 0.01 * i for i in range(exits + 1)]


def logits(labels: np.ndarray, exits: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    quality = np.linspace(0.6, 1.4, exits + 1)[:, None]
    margin = 25 * (quality * (2 * labels - 1) + rng.normal(size=(exits + 1, len(labels))))
    return np.stack([-margin, margin], axis=2).round().clip(-128, 127).astype(np.int8)


def evaluation(n: int = 60, exits: int = 3) -> Evaluation:
    labels = np.arange(n, dtype=np.int64) % 2
    early_exit, baseline = logits(labels, exits), logits(labels, 0, seed=1)
    return Evaluation(
        ids=np.arange(n, dtype=np.int64),
        labels=labels,
        fp32_baseline=baseline.astype(np.float32),
        int8_baseline=baseline,
        fp32_early_exit=logits(labels, exits, seed=2).astype(np.float32),
        int8_early_exit=early_exit,
    )


def thresholds(exits: int = 3, table: tuple[int, ...] = (50, 75, 95)) -> Thresholds:
    margins = decision.margins(logits(np.arange(200) % 2, exits, seed=3))
    return calibrate(margins, list(table), names(exits), scales(exits))


def latency(exits: int = 3) -> dict[str, Any]:
    segments = dict(zip(names(exits), [120.5, 80.0, 60.0, 90.25], strict=False))
    return {"n": 60, "passes": 3, "baseline": 330.0, "segments": segments}


def costs(exits: int = 3) -> dict[str, Costs]:
    """Costs of a network; those of the Cortex-M4 are three for each multiply-accumulate."""
    macs = accumulated(MACS[: exits + 1])
    timed = latency(exits)
    return {
        "macs": Costs(BASELINE_MACS, macs),
        "measured": Costs(timed["baseline"], accumulated(timed["segments"].values())),
        "emulated": Costs(3 * BASELINE_MACS, [3 * count for count in macs]),
    }


def accumulated(values: Iterable[float]) -> list[float]:
    return list(accumulate(values))


def policies(exits: int = 3) -> Policies:
    truth = np.arange(600) % 2
    calibration = Calibration(logits(truth, exits, seed=3), truth)
    return choose(
        calibration,
        thresholds(exits),
        costs(exits)["emulated"].until,
        "emulated",
        searched={"searched_0": 0, "searched_0.01": 0.01},
        risk=0.05,
        delta=0.1,
        patient={"patience2": 2, "patience3": 3},
    )


def shifts(clean: Evaluation) -> list[Shifted]:
    """The images as they are, and from a camera that the network knows less of."""
    exits = len(clean.int8_early_exit) - 1
    return [
        Shifted("clean", "as they are", clean.ids, clean.labels, clean.int8_early_exit),
        Shifted("camera", "of another camera", clean.ids, clean.labels, logits(clean.labels, exits, seed=9) // 2),
    ]


def write_logs(folder: Path, columns: dict[str, list[float]]) -> None:
    """Write what dvclive would: a file a metric, a row an epoch from 1."""
    for name, values in columns.items():
        path = folder / "plots" / "metrics" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = "".join(f"{epoch}\t{value}\n" for epoch, value in enumerate(values, start=1))
        path.write_text(f"step\t{path.name.removesuffix('.tsv')}\n{rows}")
