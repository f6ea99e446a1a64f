"""Stage plots: every figure, each beside the CSV of its numbers, and two sheets of pictures."""

from pathlib import Path

import pandas as pd

from earlyexit.common.files import read_json, replacing, replacing_folder
from earlyexit.dataset import open_split
from earlyexit.evaluation import per_image
from earlyexit.evaluation.frontier import curve as over_percentiles
from earlyexit.plots import (
    confidence,
    costs,
    exit_share,
    frontier,
    layer_error,
    learning_curves,
    placement,
    quantization,
    reliability,
    shift,
)
from earlyexit.plots import policies as policy_trades
from earlyexit.plots.sheets import examples, samples
from earlyexit.plots.style import save_figure, save_table
from earlyexit.policy.policies import load_policies
from earlyexit.policy.thresholds import load_thresholds
from earlyexit.reports import failures
from earlyexit.tflite import deployment
from stages import run
from stages.costs import read as read_costs


def main() -> None:
    """Write reports/frontier.csv and reports/plots."""
    network = deployment.load(Path("models/int8/early_exit"))
    policies = load_policies("models/policies.json")
    thresholds = load_thresholds("models/thresholds.json")
    results = per_image.load(Path("models/evaluation/val.safetensors"))
    timed, counted = read_json("models/latency.json"), read_json("reports/emulated.json")
    train, calibration, val = (open_split("data/packed", split) for split in ("train", "calibration", "val"))
    definition = read_json("data/packed/summary.json")["definition"]
    n, names, scales = len(results.labels), network.names, network.logits_scales()
    middle = sorted(thresholds.table)[len(thresholds.table) // 2]

    cost = read_costs()
    curve = pd.DataFrame(over_percentiles(results, thresholds, cost))
    points = frontier.references(results, curve, thresholds.table)
    trades = policy_trades.trades(policies, thresholds, results, cost)
    shares = exit_share.shares(results, thresholds, names)
    bins = confidence.histograms(results, names, scales)
    diagrams = reliability.bins(results, names, scales)
    logs = learning_curves.read({stage: Path("models", stage, "log") for stage in learning_curves.STAGES})
    accuracies = quantization.accuracies(results)
    errors = pd.read_csv("models/int8/early_exit/layers.csv")
    times = costs.measured(network.names, cost)
    cycles = costs.emulated(counted)
    chosen = read_json("reports/placement.json")
    shifted = read_json("reports/shift.json")
    shifts = shift.rows(shifted)
    figures = {
        "exit_share": (shares, exit_share.draw(shares, names, n)),
        "confidence": (bins, confidence.draw(bins, thresholds, scales, n)),
        "reliability": (diagrams, reliability.draw(diagrams, n)),
        "learning_curves": (logs, learning_curves.draw(logs, names, len(train), len(calibration))),
        "quantization": (accuracies, quantization.draw(accuracies, n)),
        "layer_error": (errors, layer_error.draw(errors)),
        "policies": (trades, policy_trades.draw(trades, policies, n)),
        "shift": (shifts, shift.draw(shifts, shifted["risk"])),
        "latency": (times, costs.draw_measured(times, timed)),
        "emulated": (cycles, costs.draw_emulated(cycles, counted)),
    }
    if chosen["placement"] == "searched":
        candidates = placement.candidates(chosen)
        figures["placement"] = (candidates, placement.draw(candidates, chosen))
    with replacing("reports/frontier.csv") as file, replacing_folder("reports/plots") as folder:
        save_table(file, curve)
        save_table(folder / "frontier_points.csv", points)
        save_figure(folder / "frontier.png", frontier.draw(curve, points, n))
        for name, (table, figure) in figures.items():
            save_table(folder / f"{name}.csv", table)
            save_figure(folder / f"{name}.png", figure)
        sizes = failures.person_shares(Path("data/packed"), val.ids)
        examples.draw(results, val, names, thresholds.margins[middle], middle, sizes).save(folder / "examples.png")
        samples.draw(Path("data/raw"), train, definition).save(folder / "samples.png")


if __name__ == "__main__":
    run(main)
