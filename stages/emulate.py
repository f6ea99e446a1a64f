"""Stage emulate: both networks as C on an emulated Cortex-M4; checks answers, estimates cycles, measures memory."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from earlyexit.common.files import write_json, write_text
from earlyexit.dataset import open_split
from earlyexit.emulation import emulate, report
from earlyexit.params import load
from earlyexit.tflite import deployment
from stages import run


def main() -> None:
    """Write reports/emulated.json and reports/emulated.md; fail if an answer differs or the image does not fit."""
    params = load()
    network = deployment.load(Path("models/int8/early_exit"))
    baseline = deployment.load(Path("models/int8/baseline"))
    split = open_split("data/packed", "calibration")
    images = split.images[emulate.evenly_spread(params.emulate.images, len(split))]
    refill = params.emulate.refill
    with ThreadPoolExecutor(2) as pool:
        job = pool.submit(emulate.emulate, baseline, baseline.quantize(images), refill=refill)
        early_exit = emulate.emulate(network, network.quantize(images), params.budget(), refill)
        whole = job.result()
    found = report.report(early_exit, whole, params.emulate.clock_mhz)
    text = report.markdown(found)
    write_json("reports/emulated.json", found)
    write_text("reports/emulated.md", text)
    print(text)


if __name__ == "__main__":
    run(main)
