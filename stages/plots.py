"""Stage plots: every figure, each beside the CSV that `dvc plots` draws."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from tqdm import tqdm

from earlyexit.common.files import read_json, replacing, replacing_folder
from earlyexit.dataset import open_split
from earlyexit.evaluation import per_image
from earlyexit.evaluation.frontier import curve as over_percentiles
from earlyexit.plots import (
    confidence,
    emulated,
    exit_share,
    frontier,
    latency,
    layer_error,
    learning_curves,
    quantization,
    reliability,
)
from earlyexit.plots.sheets import examples, samples
from earlyexit.plots.sheets.sheet import Sheet
from earlyexit.plots.style import save_figure, save_table
from earlyexit.policy import thresholds
from earlyexit.tflite import deployment
from stages import run


def main() -> None:
    """Write reports/frontier.csv and reports/plots."""
    network = deployment.load(Path("models/int8/early_exit"))
    baseline_macs = sum(deployment.load(Path("models/int8/baseline")).macs)
    limits = thresholds.load("models/thresholds.json")
    results = per_image.load(Path("models/evaluation/val.safetensors"))
    timed = read_json("models/latency.json")
    train, held_out, val = (open_split("data/packed", split) for split in ("train", "calibration", "val"))
    area = read_json("data/packed/summary.json")["min_person_area"]
    n, names, scales = len(results.labels), network.names, network.logits_scales()
    middle = sorted(limits.table)[len(limits.table) // 2]

    curve = pd.DataFrame(over_percentiles(results, limits, network.macs, baseline_macs, timed))
    points = frontier.references(results, curve, limits.table)
    shares = exit_share.shares(results, limits, names)
    bins = confidence.histograms(results, names, scales)
    diagrams = reliability.bins(results, names, scales)
    logs = learning_curves.read({stage: Path("models", stage, "log") for stage in learning_curves.STAGES})
    accuracies = quantization.accuracies(results)
    errors = pd.read_csv("models/int8/early_exit/layers.csv")
    counted = read_json("reports/emulated.json")
    instructions = emulated.costs(counted)
    costs = latency.costs(timed, network.macs, baseline_macs)

    tables = {
        "frontier_points": points,
        "exit_share": shares,
        "confidence": bins,
        "reliability": diagrams,
        "learning_curves": logs,
        "quantization": accuracies,
        "layer_error": errors,
        "latency": costs,
        "emulated": instructions,
    }
    figures: dict[str, Callable[[], Figure]] = {
        "frontier": lambda: frontier.draw(curve, points, n),
        "exit_share": lambda: exit_share.draw(shares, names, n),
        "confidence": lambda: confidence.draw(bins, limits, scales, n),
        "reliability": lambda: reliability.draw(diagrams, n),
        "learning_curves": lambda: learning_curves.draw(logs, names, len(train), len(held_out)),
        "quantization": lambda: quantization.draw(accuracies, n),
        "layer_error": lambda: layer_error.draw(errors),
        "latency": lambda: latency.draw(costs, timed),
        "emulated": lambda: emulated.draw(instructions, counted),
    }
    sheets: dict[str, Callable[[], Sheet]] = {
        "examples": lambda: examples.draw(results, val, names, limits.margins[middle], middle),
        "samples": lambda: samples.draw(Path("data/raw"), train, area),
    }
    with replacing("reports/frontier.csv") as file, replacing_folder("reports/plots") as folder:
        save_table(file, curve)
        for name, table in tables.items():
            save_table(folder / f"{name}.csv", table)
        for name, draw in tqdm(figures.items(), desc="figures", unit="figure"):
            save_figure(folder / f"{name}.png", draw())
        for name, compose in tqdm(sheets.items(), desc="sheets", unit="sheet"):
            compose().save(folder / f"{name}.png")


if __name__ == "__main__":
    run(main)
