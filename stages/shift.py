"""Stage shift: what the exit policies keep where the camera is worse than the data, or another one."""

from pathlib import Path

from earlyexit.common.files import read_json, write_json, write_text
from earlyexit.dataset import PackedSplit
from earlyexit.packing.labels import LabelRule
from earlyexit.params import load
from earlyexit.policy.policies import load_policies
from earlyexit.reports import shift as report
from earlyexit.reports.shift import Shifted
from earlyexit.shift import camera
from earlyexit.shift.answers import answers
from earlyexit.shift.corruptions import CORRUPTIONS
from earlyexit.tflite import deployment
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.segment import all_logits
from stages import costs, run, val


def main() -> None:
    """Write reports/shift.json and reports/shift.md."""
    folder = load().shift.folder
    network = deployment.load(Path("models/int8/early_exit"))
    photographs = None if folder is None else _photographs(Path(folder), network)
    split, results = val.read()
    shifts = [Shifted(report.CLEAN, "val as it is", split.ids, split.labels, results.int8_early_exit)]
    for name, logits in answers(network, split.images, split.ids).items():
        shifts.append(Shifted(name, CORRUPTIONS[name].words, split.ids, split.labels, logits))
    if photographs is not None:
        logits = all_logits(network.segments(), network.quantize(photographs.images), report.CAMERA)
        shifts.append(Shifted(report.CAMERA, Path(str(folder)).name, photographs.ids, photographs.labels, logits))
    found = report.report(load_policies("models/policies.json"), shifts, costs.counted())
    text = report.markdown(found)
    write_json("reports/shift.json", found)
    write_text("reports/shift.md", text)
    print(text)


def _photographs(folder: Path, network: Deployment) -> PackedSplit:
    """Return the photographs of the user's camera, labelled by the rule of val."""
    summary = read_json(val.PACKED / "summary.json")
    rule = LabelRule(summary["label_rule"], summary["min_person_area"])
    return camera.read(folder, rule, network.segments()[0].input_shape[1])


if __name__ == "__main__":
    run(main)
