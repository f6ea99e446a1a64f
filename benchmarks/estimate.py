"""Fit the estimate of cycles (earlyexit/budget/cycles.py) to what the emulated Cortex-M4 counts, layer by layer.

    python -m benchmarks.estimate

It runs untrained networks of params.yaml's backbones, with an exit of each kind behind every block and weights of eight
and of four bits, on one image. It prints the weights for `cycles.WEIGHTS`, and how far the present ones are off.
"""

from collections import defaultdict
from itertools import product
from typing import get_args

import numpy as np

from earlyexit.budget import cycles
from earlyexit.budget.blueprint import blueprint
from earlyexit.common.markdown import table, thousands
from earlyexit.emulation import emulate, report
from earlyexit.model.architecture import Architecture, Head
from earlyexit.params import load
from earlyexit.quantization.recipe import EIGHT_BITS, WeightFormat
from earlyexit.tflite import deployment
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.reader import Operator, operators


def main() -> None:
    """Print the fitted weights, and a table of the errors."""
    params = load()
    seen: dict[str, list[tuple[list[float], float]]] = defaultdict(list)
    rows = []
    for backbone in (params.model.mobilenet_v2, params.model.mobilenet_v1):
        plain = Architecture(backbone=backbone, resolution=params.data.resolution)
        blocks = plain.exit_blocks
        for head, weights in product(get_args(Head), (EIGHT_BITS, WeightFormat(bits=4))):
            changes = {"exits": blocks, "head": head, "head_channels": [32] * len(blocks)}
            counted = measure(plain.model_copy(update=changes), weights)
            for operator, measured in counted:
                kind, counts = cycles.terms(operator)
                seen[kind].append((counts, measured))
            total = round(sum(measured for _, measured in counted))
            estimated = cycles.estimate([operator for operator, _ in counted])
            rows.append(
                [backbone.family, head, str(weights.bits), thousands(total), f"{100 * (estimated / total - 1):+.1f} %"]
            )
    print("\n".join(table(["backbone", "head", "bits", "counted cycles", "estimate"], rows, labels=2)), "\n")
    for kind, found in seen.items():
        fitted, worst = fit(*map(np.array, zip(*found, strict=True)))
        print(f'    "{kind}": {[float(f"{weight:.4g}") for weight in fitted]},  # off by at most {100 * worst:.1f} %')


def measure(architecture: Architecture, weights: WeightFormat) -> list[tuple[Operator, float]]:
    """Return each layer of an untrained network with the cycles that the emulated Cortex-M4 counts for it."""
    models = blueprint(architecture, weights)
    macs = [deployment.macs(model) for model in models]
    network = Deployment(architecture.outputs, models, macs, architecture.pixels)
    size = architecture.resolution
    pixels = np.random.default_rng(0).integers(0, 256, (1, size, size, 3)).astype(np.uint8)
    counted = report.layer_costs(emulate.emulate(network, network.quantize(pixels)))
    layers = [operator for model in models for operator in operators(model)]
    return [(layer, row["cycles"]) for layer, row in zip(layers, counted, strict=True)]


def fit(counts: np.ndarray, measured: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the weights with the least squares of relative errors, and the largest relative error."""
    relative = counts / measured[:, None]
    weights, *_ = np.linalg.lstsq(relative, np.ones(len(measured)))
    return weights, float(np.abs(relative @ weights - 1).max())


if __name__ == "__main__":
    main()
