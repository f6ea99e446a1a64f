"""Stage baseline: train the backbone with its final classifier, FP32, without early exits."""

from pathlib import Path

from earlyexit import checkpoint
from earlyexit.augment import Augmentation
from earlyexit.files import replacing_folder
from earlyexit.inference import prepare_torch
from earlyexit.network import EarlyExitNetwork
from earlyexit.packed import open_split
from earlyexit.params import load
from earlyexit.training import Recipe, train_network
from stages import run
from stages.logs import live

PACKED = Path("data/packed")


def main() -> None:
    """Train on the train split, watch the calibration split, write models/baseline."""
    params = load()
    train = params.train
    device = prepare_torch(train.seed, train.threads, train.device)
    network = EarlyExitNetwork(params.baseline_architecture())
    with replacing_folder(Path("models/baseline")) as folder, live(folder / "log") as log:
        metrics = train_network(
            network,
            open_split(PACKED, "train"),
            open_split(PACKED, "calibration"),
            Recipe(**params.baseline.model_dump()),
            [1.0],
            Augmentation(params.data.resolution, **params.augment.model_dump()),
            device,
            log,
            "baseline",
        )
        checkpoint.save(folder, network, {"seed": train.seed, "metrics": metrics})


if __name__ == "__main__":
    run(main)
