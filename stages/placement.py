"""Stage placement: which exits the network gets, those of params.yaml or the best that a search finds."""

from pathlib import Path
from typing import Any

from earlyexit.budget.alternatives import survey
from earlyexit.common.files import write_json, write_text
from earlyexit.model import facts
from earlyexit.model.architecture import Attached
from earlyexit.model.candidates import Candidates
from earlyexit.params import Params, load
from earlyexit.placement import report
from earlyexit.placement.search import searches
from stages import run


def main() -> None:
    """Write models/placement.json, reports/placement.json and reports/placement.md."""
    params = load()
    given = params.given()
    searched = params.exits.placement == "searched"
    found: dict[str, Any] = _search(params) if searched else {"placement": "given", **given.model_dump()}
    attached = Attached(**{key: found["chosen"][key] for key in ("exits", "head")}) if searched else given
    text = report.markdown(found)
    print(text)
    write_json("reports/placement.json", found)
    write_text("reports/placement.md", text)
    # No more than what Stage A needs: it must not rerun when only a number of the report changes.
    write_json("models/placement.json", attached.model_dump())


def _search(params: Params) -> dict[str, Any]:
    placement, plain = params.placement, facts.architecture(Path("models/pruned/baseline"))
    (channels,) = params.head_channels(1)
    found = searches(
        Candidates.load(Path("models/candidates/logits.safetensors")),
        [survey(plain, head, channels, params.weight_format()) for head in placement.heads],
        unit=placement.cost,
        loss=placement.loss,
        budget=params.budget(),
    )
    return report.report(list(found), placement.most, placement.loss, params.given())


if __name__ == "__main__":
    run(main)
