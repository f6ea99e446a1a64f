"""Stage design: what the network costs on a device, measured on untrained files before the training."""

from earlyexit.budget import alternatives, design
from earlyexit.common.files import write_text
from earlyexit.params import Params, load
from stages import run


def main() -> None:
    """Write reports/design.md; write models/within_budget if the network is within the budget, else fail."""
    params = load()
    check = _survey_sets if params.exits.placement == "searched" else _survey_given
    check(params)
    # The text never changes: training depends on this file, and must not rerun when the budget changes.
    write_text("models/within_budget", "The network fits memory.flash_limit and memory.sram_limit.\n")


def _survey_given(params: Params) -> None:
    found, budget = design.survey(params.architecture(), params.weight_format()), params.budget()
    _report(f"{design.markdown(found)}\n{design.verdict(found, *budget)}")
    design.check(found, *budget)


def _survey_sets(params: Params) -> None:
    """Report the sets that the placement stage may choose from: it does not choose before the baseline is trained."""
    plain, most, budget = params.baseline_architecture(), params.placement.most, params.budget()
    (channels,) = params.head_channels(1)
    found = [alternatives.survey(plain, head, channels, params.weight_format()) for head in params.placement.heads]
    rows = [alternatives.over_budget(one, size, *budget) for size in range(1, most + 1) for one in found]
    _report(alternatives.markdown(rows, *budget))
    alternatives.check(found, most, *budget)


def _report(text: str) -> None:
    print(text)
    write_text("reports/design.md", text)


if __name__ == "__main__":
    run(main)
