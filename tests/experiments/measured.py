"""Finished experiments as `experiments.bits` asks for them, with made-up results."""

from pathlib import Path
from typing import Any

import numpy as np

from earlyexit.common.files import write_json
from earlyexit.evaluation import per_image
from earlyexit.evaluation.per_image import Evaluation

NAMES = "baseline", "exit1", "final"
IMAGES = 200


class Finished:
    """What `finished.Experiment` is asked for; each bit that is missing costs a point, and QAT wins it back."""

    def __init__(self, seed: int, bit_count: int = 8, weights: str = "per_channel", qat: int = 0, **more: Any) -> None:
        self.params: dict[str, Any] = {
            "train.seed": seed,
            "ptq.bits": bit_count,
            "ptq.weights": weights,
            "qat.epochs": qat,
            "qat.rounding": True,
        } | {name.replace("_", ".", 1): value for name, value in more.items()}

    def param(self, leaf: str) -> Any:
        return self.params[leaf]

    @property
    def value(self) -> float:
        lost = 0 if self.params["qat.epochs"] and self.params["qat.rounding"] else 8 - self.params["ptq.bits"]
        return float(0.8 + 0.01 * self.params["train.seed"] - 0.01 * lost)

    def report(self, name: str) -> Any:
        size = 1000 * self.params["ptq.bits"] + self.params["train.seed"]
        linked = {
            "flash": {"network_constants": size - 7, "network_code": 4, "kernels": 3, "total": size},
            "ram": {"arena": 24, "state": 1, "stack": 5, "total": 30},
        }
        if name == "memory.json":
            segments = {
                "exit1": {"flash": 100, "arena": {"total": 50}, "features": 10},
                "final": {"flash": size - 100, "arena": {"total": 40}, "features": 0},
            }
            return {
                "early_exit": {"flash": size, "sram": 60, "segments": segments},
                "baseline": {"flash": size - 50, "sram": 90},
                "linked": {"early_exit": linked},
            }
        slower = 1 if self.params["ptq.bits"] == 8 else 1.1
        layers = [("conv", 1), ("pointwise", 1.5), ("conv", 0.5)]
        return {
            "segments": {"exit1": {"cycles_until": 1_000_000}, "final": {"cycles_until": round(3_000_000 * slower)}},
            "baseline": {"cycles": round(2_000_000 * slower)},
            "memory": {"early_exit": linked},
            "layers": {
                "early_exit": [
                    {"kind": kind, "cycles": round(millions * 1e6 * slower), "instructions": 1, "macs": 1}
                    for kind, millions in layers
                ],
                "baseline": [{}, {}],
            },
            "images": 20,
            "equal": {"early_exit": 1200, "baseline": 40},
        }

    def fetch(self, paths: list[str], folder: Path) -> None:
        val, *calibration = paths
        (folder / val).parent.mkdir(parents=True)
        per_image.save(folder / val, self.evaluation())
        accuracy = {"value": self.value - 0.1, "low": 0.0, "high": 1.0, "n": 4000}
        for path in calibration:
            write_json(folder / path, {name: {"fp32": {}, "int8": accuracy} for name in NAMES[1:]})

    def evaluation(self) -> Evaluation:
        """Every classifier answers the first images rightly, and the others wrongly."""
        right = np.arange(IMAGES) < round(self.value * IMAGES)
        logits = np.stack([np.zeros(IMAGES), right], axis=1)[None]
        exits = np.repeat(logits, len(NAMES) - 1, axis=0)
        return Evaluation(
            ids=np.arange(IMAGES),
            labels=np.ones(IMAGES, np.int64),
            fp32_baseline=logits.astype(np.float32),
            int8_baseline=logits.astype(np.int8),
            fp32_early_exit=exits.astype(np.float32),
            int8_early_exit=exits.astype(np.int8),
        )
