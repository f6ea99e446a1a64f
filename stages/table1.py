"""Stage table1: Table I of the paper, its columns beside ours."""

from pathlib import Path

from earlyexit import deployment, evaluation, table1, thresholds
from earlyexit.files import read_json, write_json, write_text
from stages import run


def main() -> None:
    """Write reports/table1.json, reports/table1.md and reports/metrics.json."""
    rows = table1.rows(
        evaluation.load(Path("models/evaluation/val.safetensors")),
        thresholds.load("models/thresholds.json"),
        deployment.load(Path("models/int8/early_exit")).macs,
        sum(deployment.load(Path("models/int8/baseline")).macs),
        read_json("models/latency.json"),
    )
    text = table1.markdown(rows)
    write_json("reports/table1.json", rows)
    write_text("reports/table1.md", text)
    write_json("reports/metrics.json", table1.metrics(rows))
    print(text)


if __name__ == "__main__":
    run(main)
