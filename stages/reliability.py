"""Stage reliability: how reliable the confidence of each exit is, and whether the exit is worth its cost."""

from pathlib import Path

from earlyexit.common.files import write_json, write_text
from earlyexit.evaluation import per_image
from earlyexit.reports import reliability
from earlyexit.tflite import deployment
from stages import run


def main() -> None:
    """Write reports/reliability.json and reports/reliability.md."""
    network = deployment.load(Path("models/int8/early_exit"))
    results = per_image.load(Path("models/evaluation/val.safetensors"))
    found = reliability.report(results, network.names, network.logits_scales(), network.macs)
    text = reliability.markdown(found)
    write_json("reports/reliability.json", found)
    write_text("reports/reliability.md", text)
    print(text)


if __name__ == "__main__":
    run(main)
