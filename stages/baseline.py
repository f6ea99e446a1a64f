"""Stage baseline: train the FP32 network without early exits, from random weights or from a pretrained file."""

from pathlib import Path

from earlyexit.model import checkpoint
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.model.pretrained import load_pretrained, pretrained_architecture, settle_norms
from earlyexit.params import load
from earlyexit.training.distributed import launch
from earlyexit.training.trainers import train_baseline
from stages import run
from stages.logs import training

SETTLING = 2048  # train images over which the statistics of a pretrained file's batch norm are measured


def main() -> None:
    """Train on the train split, watch the calibration split, write models/baseline."""
    params = load()
    if launch("stages.baseline", params.train.processes):
        return
    with training("baseline", params.train, params.augment) as (folder, session):
        architecture = params.baseline_architecture()
        pretrained = None if params.baseline.pretrained is None else Path(params.baseline.pretrained)
        if pretrained is not None:
            architecture = pretrained_architecture(architecture, pretrained)
        network = EarlyExitNetwork(architecture)
        if pretrained is not None:
            load_pretrained(network, pretrained)
            settle_norms(network, session.train.images[:SETTLING], session.device)
        metrics = train_baseline(network, params.baseline, session)
        checkpoint.save(folder, network, {"seed": params.train.seed, "metrics": metrics})


if __name__ == "__main__":
    run(main)
