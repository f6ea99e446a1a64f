"""Stage calibrate: thresholds for each exit and percentile, from INT8 margins on the calibration split."""

from pathlib import Path

from earlyexit.common.files import write_json
from earlyexit.dataset import open_split
from earlyexit.params import load
from earlyexit.policy import calibration, decision
from earlyexit.policy.thresholds import calibrate, check_classes
from earlyexit.tflite import deployment
from earlyexit.tflite.segment import all_logits
from stages import run


def main() -> None:
    """Run the INT8 segments on the calibration split; write models/calibration.safetensors, thresholds.json."""
    params = load().calibrate
    network = deployment.load(Path("models/int8/early_exit"))
    split = open_split("data/packed", "calibration")
    check_classes(split.labels)
    logits = all_logits(network.segments(), network.quantize(split.images), "calibration images")
    margins, answers = decision.margins(logits), decision.labels(logits)
    scales = network.logits_scales()
    thresholds = calibrate(margins, params.percentiles, network.names, scales, answers, params.scope)
    calibration.save("models/calibration.safetensors", logits, split.labels)
    write_json("models/thresholds.json", thresholds.model_dump())
    thresholds.print_summary(params.scope)


if __name__ == "__main__":
    run(main)
