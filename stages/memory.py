"""Stage memory: flash and RAM of what is deployed, with TFLM and as C library, held against the device's budget."""

from pathlib import Path

from earlyexit.budget import memory
from earlyexit.common.files import read_json, write_json, write_text
from earlyexit.params import load
from earlyexit.tflite import deployment
from stages import run


def main() -> None:
    """Measure the INT8 files, write reports/memory.json and reports/memory.md; fail over budget."""
    flash_limit, sram_limit = load().budget()
    network = deployment.load(Path("models/int8/early_exit"))
    linked = read_json("reports/emulated.json")["memory"]
    found = memory.report(network, deployment.load(Path("models/int8/baseline")), linked)
    text = memory.markdown(found)
    print(text)
    write_json("reports/memory.json", found)
    write_text("reports/memory.md", text)
    memory.check(found, network, flash_limit, sram_limit)


if __name__ == "__main__":
    run(main)
