"""Stage design: what the network costs on a device, measured on untrained files before the training."""

from earlyexit.budget.design import check, markdown, survey, verdict
from earlyexit.common.files import write_text
from earlyexit.params import load
from stages import run


def main() -> None:
    """Write reports/design.md; write models/within_budget if the network is within the budget, else fail."""
    params = load()
    design = survey(params.architecture())
    budget = params.budget()
    text = f"{markdown(design)}\n{verdict(design, *budget)}"
    print(text)
    write_text("reports/design.md", text)
    check(design, *budget)
    # The text never changes: training depends on this file, and must not rerun when the budget changes.
    write_text("models/within_budget", "The network fits memory.flash_limit and memory.sram_limit.\n")


if __name__ == "__main__":
    run(main)
