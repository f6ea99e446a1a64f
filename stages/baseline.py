"""Stage baseline: train the FP32 network without early exits, from random weights or from a pretrained file."""

from pathlib import Path

from earlyexit.model import checkpoint
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.model.pretrained import pretrained
from earlyexit.params import load
from earlyexit.training.distributed import launch
from earlyexit.training.trainers import train_baseline
from stages import run
from stages.logs import training


def main() -> None:
    """Train on the train split, watch the calibration split, write models/baseline."""
    params = load()
    if launch("stages.baseline", params.train.processes):
        return
    with training("baseline", params.train, params.augment) as (folder, session):
        architecture, file = params.baseline_architecture(), params.baseline.pretrained
        if file is None:
            network = EarlyExitNetwork(architecture)
        else:
            network = pretrained(architecture, Path(file), session.train.images, session.device)
        metrics = train_baseline(network, params.baseline, session)
        checkpoint.save(folder, network, {"seed": params.train.seed, "metrics": metrics})


if __name__ == "__main__":
    run(main)
