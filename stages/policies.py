"""Stage policies: what each exit policy promised, and what it keeps on val."""

from pathlib import Path

from earlyexit.common.files import read_json, write_json, write_text
from earlyexit.evaluation import per_image
from earlyexit.policy.policies import load_policies
from earlyexit.reports import policies as report
from stages import costs, run


def main() -> None:
    """Write reports/policies.json and reports/policies.md."""
    results = per_image.load(Path("models/evaluation/val.safetensors"))
    found = report.report(
        load_policies("models/policies.json"), results, costs.read(), read_json("models/latency.json")["cascade"]
    )
    text = report.markdown(found)
    write_json("reports/policies.json", found)
    write_text("reports/policies.md", text)
    print(text)


if __name__ == "__main__":
    run(main)
