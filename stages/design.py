"""Stage design: what the network costs on a device, measured on untrained files before any time goes into training."""

from earlyexit.budget.design import check, markdown, survey, verdict
from earlyexit.common.files import write_text
from earlyexit.params import load
from stages import run


def main() -> None:
    """Write reports/design.md; where the network is within the budget, models/within_budget, else fail."""
    params = load()
    design = survey(params.architecture())
    text = f"{markdown(design)}\n{verdict(design, *params.budget())}"
    print(text)
    write_text("reports/design.md", text)
    check(design, *params.budget())
    # Always the same words: training depends on this file, and must not start anew when the budget changes.
    write_text("models/within_budget", "The network fits memory.flash_limit and memory.sram_limit.\n")


if __name__ == "__main__":
    run(main)
