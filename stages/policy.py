"""Stage policy: exit policies from the calibration split, or from photographs of the target camera."""

from itertools import accumulate
from pathlib import Path

from earlyexit.common.files import read_json, write_json
from earlyexit.dataset import open_split
from earlyexit.evaluation import costs, latency
from earlyexit.evaluation.costs import Costs
from earlyexit.packing.decode import decode_folder
from earlyexit.params import PolicyParams, load
from earlyexit.policy import calibration
from earlyexit.policy.calibration import Calibration
from earlyexit.policy.policies import choose
from earlyexit.policy.thresholds import load_thresholds
from earlyexit.tflite import deployment
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.segment import all_logits
from stages import run

TIMED, PASSES = 300, 3
"""Calibration images, and passes over them, that segments are timed on where `policy.cost` is measured."""


def main() -> None:
    """Search thresholds; write models/policies.json."""
    params = load().policy
    network = deployment.load(Path("models/int8/early_exit"))
    policies = choose(
        _calibration(network, params),
        load_thresholds("models/thresholds.json"),
        _costs(network, params).until,
        params.cost,
        searched=params.searched(),
        risk=params.risk,
        delta=params.delta,
        patient=params.patient(),
    )
    write_json("models/policies.json", policies.model_dump())
    policies.print_summary()


def _calibration(network: Deployment, params: PolicyParams) -> Calibration:
    if params.folder is None:
        return calibration.load("models/calibration.safetensors")
    images = decode_folder(Path(params.folder), network.segments()[0].input_shape[1])
    logits = all_logits(network.segments(), network.quantize(images), "photographs")
    return Calibration(logits, None, f"{params.folder}, without labels")


def _costs(network: Deployment, params: PolicyParams) -> Costs:
    if params.cost == "emulated":
        if not Path("reports/emulated.json").is_file():
            raise ValueError(
                "policy.cost: emulated needs reports/emulated.json; run `dvc repro policy`, or choose macs"
            )
        return costs.emulated(read_json("reports/emulated.json"))
    baseline = deployment.load(Path("models/int8/baseline"))
    if params.cost == "macs":
        return costs.macs(network.macs, sum(baseline.macs))
    images = network.quantize(open_split("data/packed", "calibration").images[:TIMED])
    timed = latency.measure(baseline.segments()[0], network.segments(), [], images, PASSES)
    return Costs(timed.baseline, list(accumulate(timed.segments)))


if __name__ == "__main__":
    run(main)
