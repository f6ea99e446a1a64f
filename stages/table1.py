"""Stage table1: Table I of the paper, its columns beside ours."""

from pathlib import Path

from earlyexit.common.files import read_json, write_json, write_text
from earlyexit.evaluation import frontier, per_image
from earlyexit.policy.thresholds import load_thresholds
from earlyexit.reports import table1
from earlyexit.tflite import deployment
from stages import run


def main() -> None:
    """Write reports/table1.json, reports/table1.md and reports/metrics.json."""
    results = per_image.load(Path("models/evaluation/val.safetensors"))
    thresholds = load_thresholds("models/thresholds.json")
    macs = deployment.load(Path("models/int8/early_exit")).macs
    baseline_macs = sum(deployment.load(Path("models/int8/baseline")).macs)
    timed = read_json("models/latency.json")
    rows = table1.rows(results, thresholds, macs, baseline_macs, timed, read_json("reports/emulated.json"))
    curve = frontier.curve(results, thresholds, macs, baseline_macs, timed)
    text = table1.markdown(rows)
    write_json("reports/table1.json", rows)
    write_text("reports/table1.md", text)
    write_json("reports/metrics.json", table1.metrics(rows, per_image.int8_accuracies(results), curve))
    print(text)


if __name__ == "__main__":
    run(main)
