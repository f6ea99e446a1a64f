"""Stage pruning: what pruning removed from both networks, and what they cost before and after."""

from pathlib import Path

from earlyexit.budget import pruning
from earlyexit.common.files import read_json, write_json, write_text
from earlyexit.model import facts
from earlyexit.params import load
from stages import run

BEFORE = {"baseline": Path("models/baseline"), "early_exit": Path("models/joint")}


def main() -> None:
    """Write reports/prune.json and reports/prune.md."""
    weights = load().weight_format()
    after = {name: Path("models/pruned", name) for name in BEFORE}
    found = pruning.report(
        {name: facts.architecture(folder) for name, folder in BEFORE.items()},
        {name: facts.architecture(folder) for name, folder in after.items()},
        {name: read_json(folder / "channels.json") for name, folder in after.items()},
        weights,
        shrunk=facts.facts(Path("models/shrunk")).get("shrunk"),
    )
    text = pruning.markdown(found)
    write_json("reports/prune.json", found)
    write_text("reports/prune.md", text)
    print(text)


if __name__ == "__main__":
    run(main)
