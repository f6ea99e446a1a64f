"""Stage B, joint training: unfreeze everything and train backbone and exits together by Eq. 1, at a lower rate."""

from pathlib import Path

from earlyexit.dataset import open_split
from earlyexit.model import checkpoint
from earlyexit.model.inference import prepare_torch
from earlyexit.params import load
from earlyexit.training.augment import Augmentation
from earlyexit.training.distributed import join, launch
from earlyexit.training.loop import Recipe
from earlyexit.training.trainers import train_network
from stages import run
from stages.logs import output, unfinished

PACKED = Path("data/packed")


def main() -> None:
    """Train on the train split, watch the calibration split, write models/joint."""
    params = load()
    train, joint = params.train, params.joint
    if launch("stages.joint", train.processes):
        return
    device = join(prepare_torch(train.seed, train.threads, train.device))
    network = checkpoint.load(Path("models/disjoint"))
    with output("joint") as (folder, log):
        metrics = train_network(
            network,
            open_split(PACKED, "train"),
            open_split(PACKED, "calibration"),
            Recipe(**joint.model_dump(exclude={"w_exits", "w_final"})),
            [*joint.w_exits, joint.w_final],
            Augmentation(network.resolution, **params.augment.model_dump()),
            device,
            log,
            "joint",
            precision=train.precision,
            unfinished=unfinished("joint"),
        )
        checkpoint.save(folder, network, {"seed": train.seed, "metrics": metrics})


if __name__ == "__main__":
    run(main)
