"""Stage ptq: quantization of the segments of one network, and the error of each layer."""

import sys
from pathlib import Path

import pandas as pd

from earlyexit.common.files import read_json, replacing_folder, write_json
from earlyexit.dataset import balanced_up_to, open_split
from earlyexit.evaluation.agreement import compare
from earlyexit.model import ranges
from earlyexit.model.architecture import Architecture
from earlyexit.params import load
from earlyexit.quantization import layer_error
from earlyexit.quantization.deploy import deploy
from earlyexit.tflite import deployment
from stages import run

ERROR_IMAGES = 64  # for the error of each layer


def main() -> None:
    """Write models/int8/NAME from models/export/NAME; the first argument is NAME, baseline or early_exit."""
    name = sys.argv[1]
    params = load().ptq
    source = Path("models/export", name)
    architecture = Architecture.model_validate(read_json(source / "architecture.json"), strict=False)
    float_models = [(source / f"segment{i + 1}.float.tflite").read_bytes() for i in range(len(architecture.outputs))]
    split = open_split("data/packed", "calibration")
    learned = ranges.read(Path("models/qat", name), len(float_models))
    rows = balanced_up_to(split.labels, params.images, seed=0)
    if learned is None:
        print(f"calibrating on {len(rows)} images, half of each class (ptq.images: {params.images})")
    images = split.images[rows]
    choice = params.quantizer, params.weights, params.ranges, params.bits
    network = deploy(float_models, architecture, images, *choice, learned)
    with replacing_folder(Path("models/int8", name)) as folder:
        deployment.save(folder, network, params.quantizer)
        report = compare(float_models, network, split.images, split.labels)
        errors = layer_error.layer_errors(float_models, network, images[:ERROR_IMAGES])
        pd.DataFrame(layer_error.table(errors)).to_csv(folder / "layers.csv", index=False, float_format="%.6g")
        write_json(folder / "accuracy.json", {"split": "calibration", "images": len(rows), **report})


if __name__ == "__main__":
    run(main)
