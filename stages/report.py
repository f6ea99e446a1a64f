"""Stage report: one page to look at, the model card, and a folder that can be uploaded with it."""

import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

from earlyexit.common.files import read_json, replacing_folder, write_json, write_text
from earlyexit.page import card, record, render, run, thumbnails
from earlyexit.params import Params, load
from earlyexit.policy.policies import load_policies
from earlyexit.policy.thresholds import load_thresholds
from earlyexit.tflite import deployment
from stages import costs, val
from stages import run as run_stage

VERSIONS = ("torch", "ai-edge-quantizer", "ai-edge-litert", "litert-torch", "tensorflow", "dvc", "unicorn", "ziglang")
"""Packages that results depend on."""


def main() -> None:
    """Write reports/run.json, report.html and model_card.md, and the folder models/hub."""
    params = load()
    network = deployment.load(Path("models/int8/early_exit"))
    split, evaluation = val.read()
    thresholds = load_thresholds("models/thresholds.json")
    found = record.record(evaluation, network, thresholds, costs.read())
    write_json(run.RECORD, {**found, "origin": _origin(), "sha256": run.hashes(_bytes)})
    whole = run.read("", _bytes)
    built_in = load_policies("models/policies.json").named(params.firmware.policy)
    shown = (
        thumbnails.choose(evaluation, split.images, network.names, built_in.thresholds, built_in.name)
        if _may_show(params)
        else None
    )
    text = render.page([whole], shown)
    write_text("reports/report.html", text)
    described = card.card(whole)
    write_text("reports/model_card.md", described)
    with replacing_folder("models/hub") as folder:
        write_text(folder / "README.md", described)
        for path in sorted(Path("models/int8/early_exit").iterdir()):
            shutil.copyfile(path, folder / path.name)
        shutil.copyfile("models/policies.json", folder / "policies.json")
    print(f"reports/report.html: {len(text.encode()) / 1e6:.1f} MB; open it in a browser")


def _bytes(path: str) -> bytes:
    return Path(path).read_bytes()


def _may_show(params: Params) -> bool:
    """Return whether pictures may stand in the page: photographs from elsewhere are not ours to copy."""
    return params.report.thumbnails == "auto" and params.data.source == "embedded"


def _origin() -> dict[str, object]:
    """Return where the run comes from; of a folder of photographs its name alone, for the card is published."""
    summary = read_json("data/packed/summary.json")
    counts = {split: entry["images"] for split, entry in summary["counts"].items()}
    placed = read_json("models/placement.json")
    return {
        "exits": f"after {', '.join(placed['exits'])}; {placed['head']}",
        "data": f"{Path(summary['source']).name}; {summary['definition']}; images: "
        + ", ".join(f"{split} {count:,}" for split, count in counts.items()),
        "commit": _commit(),
        "machine": read_json("models/latency.json")["machine"],
        "versions": {name: version(name) for name in VERSIONS},
    }


def _commit() -> str:
    """Return the commit that the run started from, and whether code or params differed from it."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--", "earlyexit", "stages", "params.yaml")
    except (OSError, subprocess.CalledProcessError):
        return "none"
    return f"{head}, with changes" if changed else head


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    run_stage(main)
