"""Stage evaluate: logits of every exit on every val image, FP32 and INT8."""

from pathlib import Path

from earlyexit.common.files import replacing_folder, write_json
from earlyexit.dataset import open_split
from earlyexit.evaluation.per_image import Evaluation, report, save
from earlyexit.model import checkpoint
from earlyexit.model.inference import predict, prepare_torch
from earlyexit.params import load
from earlyexit.tflite import deployment
from earlyexit.tflite.segment import all_logits
from stages import run


def main() -> None:
    """Run both networks on the val split; write models/evaluation."""
    train = load().train
    device = prepare_torch(train.seed, train.threads, train.device)
    split = open_split("data/packed", "val")
    logits = {}
    for name in ("baseline", "early_exit"):
        trained = checkpoint.load(Path("models/pruned") / name)
        logits[f"fp32_{name}"] = predict(trained.to(device), split.images, device)
        network = deployment.load(Path("models/int8") / name)
        logits[f"int8_{name}"] = all_logits(network.segments(), network.quantize(split.images), f"INT8 {name}")
    evaluation = Evaluation(ids=split.ids, labels=split.labels, **logits)
    with replacing_folder(Path("models/evaluation")) as target:
        save(target / "val.safetensors", evaluation)
        write_json(target / "accuracy.json", report(evaluation))


if __name__ == "__main__":
    run(main)
