"""Stage table1: Table I of the paper, its columns beside ours."""

from pathlib import Path

from earlyexit.common.files import read_json, write_json, write_text
from earlyexit.evaluation import frontier, per_image
from earlyexit.policy.thresholds import load_thresholds
from earlyexit.reports import table1
from earlyexit.taught import read
from stages import costs, run


def main() -> None:
    """Write reports/table1.json, reports/table1.md and reports/metrics.json."""
    results = per_image.load(Path("models/evaluation/val.safetensors"))
    thresholds = load_thresholds("models/thresholds.json")
    timed = read_json("models/latency.json")
    cost = costs.read()
    answers = read(Path("models/teacher"), "val", results.ids)
    teacher = None if answers is None else (answers.kind, answers.labels())
    unpruned = read_json("models/unpruned.json")
    rows = table1.rows(results, thresholds, cost, timed["cascade"], teacher, unpruned)
    curve = frontier.curve(results, thresholds, cost)
    policies = read_json("reports/policies.json")["policies"]
    text = table1.markdown(rows)
    write_json("reports/table1.json", rows)
    write_text("reports/table1.md", text)
    write_json("reports/metrics.json", table1.metrics(rows, per_image.int8_accuracies(results), curve, policies))
    print(text)


if __name__ == "__main__":
    run(main)
