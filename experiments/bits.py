"""`python -m experiments.bits NAME GROUP...`: weights of eight and of four bits, quantized after training and in it."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from earlyexit.common.files import read_json
from earlyexit.common.markdown import millions, percent_within, table, thousands
from earlyexit.evaluation import per_image
from earlyexit.evaluation.statistics import paired_difference
from earlyexit.policy import decision
from experiments import bits_device
from experiments.finished import Experiment, find, save
from experiments.seeds import Cell, cell, spread
from stages import run

Key = tuple[str, int, str, str]
"""Network ("" or LARGER), bits, weights, and way of an experiment."""

Run = dict[str, Any]
"""What one experiment found."""

LARGER = "larger"
"""The group of experiments on a larger network, which fits the device thanks to four bits."""

_WAYS = ["PTQ", "trained on in float, PTQ", "QAT"]
_PTQ, _FLOAT, _QAT = _WAYS
_REFERENCE = ("", 8, "per_channel", _PTQ)
_ON_DEVICE = {
    _REFERENCE: "8 bits",
    ("", 4, "per_channel", _QAT): "4 bits",
    (LARGER, 4, "per_channel", _QAT): "larger, 4 bits",
}
"""The networks whose costs on the device are reported part by part, with their titles."""
_VAL = "models/evaluation/val.safetensors"
_CALIBRATION = ("models/int8/baseline/accuracy.json", "models/int8/early_exit/accuracy.json")
_COSTS = {
    "flash": "flash, .tflite",
    "sram": "SRAM, TFLM",
    "library_flash": "flash, C library",
    "library_ram": "RAM, C library",
}


def rows(experiments: Sequence[tuple[str, Experiment]]) -> list[dict[str, Any]]:
    """Return for each network and each way to quantize it: accuracies, changes, and costs.

    Args:
        experiments: with the group of each.

    Returns:
        rows of network ("" or "larger"), bits, weights, way, seeds, and n val images; accuracy of each classifier, and
        change against eight bits per channel by PTQ at the same seed (None where there is no such experiment), as mean
        and deviation over seeds, or of one seed with its 95 % interval; calibration: n, accuracy and change on that
        split, where a change has no interval; bytes and cycles, the largest of any seed.
    """
    found = [_run(group, experiment) for group, experiment in experiments]
    reference = {entry["seed"]: entry for entry in found if entry["key"] == _REFERENCE}
    keys = sorted({entry["key"] for entry in found}, key=lambda key: (key[0], -key[1], key[2], _WAYS.index(key[3])))
    return [_row(key, [entry for entry in found if entry["key"] == key], reference) for key in keys]


def markdown(found: Sequence[dict[str, Any]]) -> str:
    """Return the rows as Markdown tables: accuracies on val and on the calibration split, and costs."""
    lines = [
        *_accuracies(found, found),
        "",
        f"Val accuracy of the quantized networks, n = {found[0]['n']:,}. Several seeds: mean ± sample standard "
        "deviation; one seed: 95 % interval. Change: points against eight bits per channel by PTQ, of the same seeds, "
        "with Newcombe's interval for the same images.",
        "",
        *_accuracies(found, [row["calibration"] for row in found]),
        "",
        f"The same on the calibration split, n = {found[0]['calibration']['n']:,}. No training saw these images; PTQ "
        "takes the ranges of activations from some of them.",
        "",
    ]
    costs = [[*_labels(row), *(thousands(row[key]) for key in _COSTS), millions(row["cycles"], 2)] for row in found]
    lines += table(["Network", "Bits", "Scales", "Quantized by", *_COSTS.values(), "Cycles (M)"], costs, labels=4)
    lines += [
        "",
        "Bytes of the early-exit network, the largest of any seed. Cycles: estimated, of an emulated Cortex-M4, for an "
        "image that leaves at the final classifier.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write reports/sweeps/NAME and NAME_device, .json and .md, of the experiments NAME_GROUP, NAME_GROUP-1, ...

    Raises:
        ValueError: no GROUP is given, or there are no experiments of that name.
    """
    sweep, *groups = sys.argv[1:]
    if not groups:
        raise ValueError("usage: python -m experiments.bits NAME GROUP..., e.g. bits ptq qat float larger")
    experiments = [(group, experiment) for group in groups for experiment in find(f"{sweep}_{group}")]
    found = rows(experiments)
    save(sweep, found, markdown(found))
    device = on_device(experiments)
    save(f"{sweep}_device", device, bits_device.markdown(device))


def on_device(experiments: Sequence[tuple[str, Experiment]]) -> list[dict[str, Any]]:
    """Return the costs on the device of eight bits, of four, and of the larger network, those that are there.

    Args:
        experiments: with the group of each; of each network the one with the lowest seed is taken.
    """
    by_seed = sorted(experiments, key=lambda found: int(found[1].param("train.seed")), reverse=True)
    first = {_key(group, experiment): experiment for group, experiment in by_seed}
    return [bits_device.entry(title, first[key]) for key, title in _ON_DEVICE.items() if key in first]


def _run(group: str, experiment: Experiment) -> Run:
    memory, emulated = experiment.report("memory.json"), experiment.report("emulated.json")
    linked = memory["linked"]["early_exit"]
    *_, whole = emulated["segments"].values()
    with TemporaryDirectory() as copy:
        experiment.fetch([_VAL, *_CALIBRATION], Path(copy))
        val = per_image.load(Path(copy, _VAL))
        baseline, early_exit = (read_json(Path(copy, path)) for path in _CALIBRATION)
    accuracy = {name: entry["int8"] for name, entry in per_image.report(val).items() if name != "n"}
    answers = map(decision.labels, (*val.int8_baseline, *val.int8_early_exit))
    return {
        "key": _key(group, experiment),
        "seed": experiment.param("train.seed"),
        "labels": val.labels,
        "answers": dict(zip(accuracy, answers, strict=True)),
        "accuracy": accuracy,
        "calibration": {
            name: (baseline["final"] if name == "baseline" else early_exit[name])["int8"] for name in accuracy
        },
        "flash": memory["early_exit"]["flash"],
        "sram": memory["early_exit"]["sram"],
        "library_flash": linked["flash"]["total"],
        "library_ram": linked["ram"]["total"],
        "cycles": whole["cycles_until"],
    }


def _row(key: Key, runs: Sequence[Run], reference: Mapping[int, Run]) -> dict[str, Any]:
    network, bits, weights, way = key
    runs = sorted(runs, key=lambda run: run["seed"])
    before = [reference.get(run["seed"]) for run in runs]
    names = list(runs[0]["accuracy"])
    return {
        "network": network,
        "bits": bits,
        "weights": weights,
        "way": way,
        "seeds": [run["seed"] for run in runs],
        "n": len(runs[0]["labels"]),
        "accuracy": {name: _mean(runs, "accuracy", name) for name in names},
        "change": {name: _paired(runs, before, name) or _change(runs, before, "accuracy", name) for name in names},
        "calibration": {
            "n": runs[0]["calibration"][names[0]]["n"],
            "accuracy": {name: _mean(runs, "calibration", name) for name in names},
            "change": {name: _change(runs, before, "calibration", name) for name in names},
        },
        **{cost: max(run[cost] for run in runs) for cost in (*_COSTS, "cycles")},
    }


def _mean(runs: Sequence[Run], split: str, name: str) -> Cell | None:
    """Return the accuracy of one seed with its interval, of several their mean and deviation."""
    one: Cell = runs[0][split][name]
    return one if len(runs) == 1 else spread([run[split][name]["value"] for run in runs])


def _change(runs: Sequence[Run], before: Sequence[Run | None], split: str, name: str) -> Cell | None:
    return spread(
        [
            None if then is None else run[split][name]["value"] - then[split][name]["value"]
            for run, then in zip(runs, before, strict=True)
        ]
    )


def _paired(runs: Sequence[Run], before: Sequence[Run | None], name: str) -> Cell | None:
    """Return the change of one seed, with its interval; None for several seeds, or without another to compare with."""
    if len(runs) > 1 or before[0] is None or before[0] is runs[0]:
        return None
    found = paired_difference(runs[0]["answers"][name], before[0]["answers"][name], runs[0]["labels"])
    return {"mean": found.value, "low": found.low, "high": found.high}


def _labels(row: dict[str, Any]) -> list[str]:
    return [row["network"] or "default", str(row["bits"]), row["weights"].replace("_", " "), row["way"]]


def _accuracies(found: Sequence[dict[str, Any]], splits: Sequence[dict[str, Any]]) -> list[str]:
    """Return a table of the accuracies and changes in `splits`, which belong to the rows `found`."""
    classifiers = list(splits[0]["accuracy"])
    heads = ["Network", "Bits", "Scales", "Quantized by", "Seeds", *(f"{name} (%)" for name in classifiers)]
    heads += [f"change, {name}" for name in classifiers]
    cells = [
        [
            *_labels(row),
            ", ".join(map(str, row["seeds"])),
            *(_accuracy(split["accuracy"][name]) for name in classifiers),
            *(_points(split["change"][name]) for name in classifiers),
        ]
        for row, split in zip(found, splits, strict=True)
    ]
    return table(heads, cells, labels=5)


def _points(change: Cell | None) -> str:
    interval = f" ({100 * change['low']:+.1f} to {100 * change['high']:+.1f})" if change and "low" in change else ""
    return cell(change, 100, "+") + interval


def _accuracy(found: Cell) -> str:
    return cell(found, 100) if "mean" in found else percent_within(found["value"], found["low"], found["high"], 1)


def _key(group: str, experiment: Experiment) -> Key:
    network = LARGER if group == LARGER else ""
    return network, experiment.param("ptq.bits"), experiment.param("ptq.weights"), _way(experiment)


def _way(experiment: Experiment) -> str:
    if not experiment.param("qat.epochs"):
        return _PTQ
    return _QAT if experiment.param("qat.rounding") else _FLOAT


if __name__ == "__main__":
    run(main)
