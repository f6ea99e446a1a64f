"""Stage export: a trained network as ONNX and as float .tflite segments, their logits compared with PyTorch's."""

import sys
from pathlib import Path

from earlyexit.common.files import replacing_folder, write_json
from earlyexit.dataset import balanced_up_to, open_split
from earlyexit.model import checkpoint
from earlyexit.model.inference import prepare_torch
from earlyexit.params import load
from earlyexit.quantization import convert
from stages import run


def main() -> None:
    """Write models/export/NAME from models/qat/NAME; the first argument is NAME, baseline or early_exit."""
    name = sys.argv[1]
    params = load().export
    prepare_torch(seed=0, threads=1, device="cpu")
    network = checkpoint.load(Path("models/qat", name)).fold()
    convert.keep_biases(network)
    held_out = open_split("data/packed", "calibration")
    images = held_out.images[balanced_up_to(held_out.labels, params.images, seed=0)]
    with replacing_folder(Path("models/export", name)) as folder:
        onnx = convert.to_onnx(network)
        (folder / "network.onnx").write_bytes(onnx)
        segments = convert.to_tflite(network)
        for number, segment in enumerate(segments, start=1):
            (folder / f"segment{number}.float.tflite").write_bytes(segment)
        difference = convert.largest_difference(network, onnx, segments, images)
        convert.check_parity(difference, params.tolerance)
        report = {"images": len(images), "tolerance": params.tolerance, "largest_difference": difference}
        write_json(folder / "parity.json", report)
        write_json(folder / "architecture.json", network.architecture.model_dump())
    print(f"largest difference of logits from PyTorch's on {len(images)} images: {difference}")


if __name__ == "__main__":
    run(main)
