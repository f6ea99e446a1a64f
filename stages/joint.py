"""Stage B, joint training: unfreeze everything and train backbone and exits together by Eq. 1, at a lower rate."""

from pathlib import Path

from earlyexit import checkpoint
from earlyexit.augment import Augmentation
from earlyexit.files import replacing_folder
from earlyexit.inference import prepare_torch
from earlyexit.packed import open_split
from earlyexit.params import load
from earlyexit.training import Recipe, train_network
from stages import run
from stages.logs import live

PACKED = Path("data/packed")


def main() -> None:
    """Train on the train split, watch the calibration split, write models/joint."""
    params = load()
    train, joint = params.train, params.joint
    device = prepare_torch(train.seed, train.threads, train.device)
    network = checkpoint.load(Path("models/disjoint"))
    with replacing_folder(Path("models/joint")) as folder, live(folder / "log") as log:
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
        )
        checkpoint.save(folder, network, {"seed": train.seed, "metrics": metrics})


if __name__ == "__main__":
    run(main)
