"""Stage A, disjoint training: attach the early exits to the frozen baseline and train them alone."""

from pathlib import Path

from earlyexit.common.files import read_json
from earlyexit.model import checkpoint, facts
from earlyexit.model.architecture import Attached
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.params import load
from earlyexit.training.distributed import launch
from earlyexit.training.trainers import train_exits
from stages import run
from stages.logs import training

BASELINE = Path("models/pruned/baseline")


def main() -> None:
    """Train the exits on the train split, watch the calibration split, write models/disjoint."""
    params = load()
    if launch("stages.disjoint", params.train.processes):
        return
    with training("disjoint", params.train, params.augment, params.teacher.share) as (folder, session):
        attached = Attached.model_validate(read_json("models/placement.json"))
        plain = facts.architecture(BASELINE)
        network = EarlyExitNetwork(plain.with_exits(attached, params.exits.channels))
        checkpoint.load_backbone(network, BASELINE)
        metrics = train_exits(network, params.disjoint, session)
        checkpoint.save(folder, network, {"seed": params.train.seed, "metrics": metrics})


if __name__ == "__main__":
    run(main)
