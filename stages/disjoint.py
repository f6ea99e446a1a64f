"""Stage A, disjoint training: attach the early exits to the frozen baseline and train them alone."""

from pathlib import Path

from earlyexit.dataset import open_split
from earlyexit.model import checkpoint
from earlyexit.model.inference import prepare_torch
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.params import load
from earlyexit.training.augment import Augmentation
from earlyexit.training.distributed import join, launch
from earlyexit.training.loop import Recipe
from earlyexit.training.trainers import train_exits
from stages import run
from stages.logs import output, unfinished

PACKED = Path("data/packed")
BASELINE = Path("models/baseline")


def main() -> None:
    """Train the exits on the train split, watch the calibration split, write models/disjoint."""
    params = load()
    train = params.train
    if launch("stages.disjoint", train.processes):
        return
    device = join(prepare_torch(train.seed, train.threads, train.device))
    network = EarlyExitNetwork(params.architecture())
    checkpoint.load_backbone(network, BASELINE)
    augmentation = Augmentation(params.data.resolution, **params.augment.model_dump())
    with output("disjoint") as (folder, log):
        metrics = train_exits(
            network,
            open_split(PACKED, "train"),
            open_split(PACKED, "calibration"),
            Recipe(**params.disjoint.model_dump(exclude={"augment"})),
            augmentation if params.disjoint.augment else None,
            device,
            log,
            precision=train.precision,
            unfinished=unfinished("disjoint"),
        )
        checkpoint.save(folder, network, {"seed": train.seed, "metrics": metrics})


if __name__ == "__main__":
    run(main)
