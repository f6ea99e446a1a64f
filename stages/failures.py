"""Stage failures: where the network fails, by the size of the largest person and by brightness."""

from pathlib import Path

from earlyexit.common.files import write_json, write_text
from earlyexit.params import load
from earlyexit.policy.policies import load_policies
from earlyexit.reports import failures
from earlyexit.tflite import deployment
from stages import run, val


def main() -> None:
    """Write reports/failures.json and reports/failures.md."""
    built_in = load().firmware.policy
    policies = load_policies("models/policies.json")
    split, results = val.read()
    # The first row of Table I, and what the C library starts with.
    shown = {policy.name: policy for policy in (policies.policies[0], policies.named(built_in))}
    found = failures.report(
        results,
        deployment.load(Path("models/int8/early_exit")).names,
        list(shown.values()),
        failures.person_shares(val.PACKED, split.ids),
        failures.mean_lumas(split.images),
    )
    text = failures.markdown(found)
    write_json("reports/failures.json", found)
    write_text("reports/failures.md", text)
    print(text)


if __name__ == "__main__":
    run(main)
