"""Stage memory: flash and RAM of the deployed network, with TFLM and as C library, against the device's budget."""

from pathlib import Path

from earlyexit.budget import limits, memory
from earlyexit.common.files import read_json, write_json, write_text
from earlyexit.params import load
from earlyexit.tflite import deployment
from stages import run


def main() -> None:
    """Write reports/memory.json and reports/memory.md; fail if the network is over budget."""
    flash_limit, sram_limit = load().budget()
    networks = [deployment.load(Path("models/int8", name)) for name in ("early_exit", "baseline")]
    segments, (baseline,) = (limits.measure_all(network.names, network.models) for network in networks)
    found = memory.report(segments, baseline, read_json("reports/emulated.json")["memory"])
    text = memory.markdown(found)
    print(text)
    write_json("reports/memory.json", found)
    write_text("reports/memory.md", text)
    limits.check(segments, flash_limit, sram_limit)


if __name__ == "__main__":
    run(main)
