"""Finished experiments as `experiments.bits` asks for them, with made-up results."""

from pathlib import Path
from typing import Any

from earlyexit.common.files import write_json

NAMES = "baseline", "exit1", "final"


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
        accuracy = {"value": self.value, "low": self.value - 0.1, "high": self.value + 0.1, "n": 2000}
        content = {"n": 2000, **{name: {"fp32": {"value": 0.9}, "int8": accuracy} for name in NAMES}}
        write_json(folder / paths[0], content)
