"""Stage B, joint training: unfreeze everything and train backbone and exits together by Eq. 1, at a lower rate."""

from pathlib import Path

from earlyexit.model import checkpoint
from earlyexit.params import load
from earlyexit.training.distributed import launch
from earlyexit.training.trainers import train_jointly
from stages import run
from stages.logs import training


def main() -> None:
    """Train on the train split, watch the calibration split, write models/joint."""
    params = load()
    if launch("stages.joint", params.train.processes):
        return
    with training("joint", params.train, params.augment, params.teacher.share) as (folder, session):
        network = checkpoint.load(Path("models/disjoint"))
        metrics = train_jointly(network, params.joint, session)
        checkpoint.save(folder, network, {"seed": params.train.seed, "metrics": metrics})


if __name__ == "__main__":
    run(main)
