"""Stage emulate: the C library on an emulated Cortex-M4; checks its answers, estimates cycles, measures memory."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from earlyexit.common.files import write_json, write_text
from earlyexit.dataset import open_split
from earlyexit.emulation import emulate, report
from earlyexit.evaluation import per_image
from earlyexit.firmware import packages, source
from earlyexit.params import load
from earlyexit.policy.thresholds import load_thresholds
from earlyexit.tflite import deployment
from stages import run


def main() -> None:
    """Write reports/emulated.json and reports/emulated.md; fail if an answer differs or the image does not fit."""
    params = load()
    network = deployment.load(Path("models/int8/early_exit"))
    baseline = deployment.load(Path("models/int8/baseline"))
    thresholds = load_thresholds("models/thresholds.json")
    results = per_image.load(Path("models/evaluation/val.safetensors"))
    val = open_split("data/packed", "val")
    rows = np.linspace(0, len(val) - 1, min(params.emulate.images, len(val))).round().astype(np.int64)
    images = network.quantize(val.images[rows])

    library = packages.read_library(Path("models/firmware"))
    refill = params.emulate.refill
    generated = source.generate(baseline, [])
    with ThreadPoolExecutor(2) as pool:
        job = pool.submit(emulate.emulate, baseline, generated, baseline.quantize(val.images[rows]), refill=refill)
        early_exit = emulate.emulate(network, library, images, params.budget(), refill)
        whole = job.result()
    found = report.report(early_exit, whole, thresholds, results.int8_early_exit, params.emulate.clock_mhz)
    text = report.markdown(found)
    write_json("reports/emulated.json", found)
    write_text("reports/emulated.md", text)
    print(text)


if __name__ == "__main__":
    run(main)
