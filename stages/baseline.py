"""Stage baseline: train the backbone with its final classifier, FP32, without early exits; or take a trained one."""

from pathlib import Path

from earlyexit.dataset import open_split
from earlyexit.model import checkpoint
from earlyexit.model.inference import prepare_torch
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.model.pretrained import load_pretrained, settle_norms
from earlyexit.params import load
from earlyexit.training.augment import Augmentation
from earlyexit.training.distributed import join, launch
from earlyexit.training.loop import Recipe
from earlyexit.training.trainers import train_network
from stages import run
from stages.logs import output, unfinished

PACKED = Path("data/packed")
SETTLING = 2048  # train images that batch norm's statistics of a pretrained file are measured on


def main() -> None:
    """Train on the train split, watch the calibration split, write models/baseline."""
    params = load()
    train, baseline = params.train, params.baseline
    if launch("stages.baseline", train.processes):
        return
    device = join(prepare_torch(train.seed, train.threads, train.device))
    network = EarlyExitNetwork(params.baseline_architecture())
    if baseline.pretrained is not None:
        load_pretrained(network, Path(baseline.pretrained))
        settle_norms(network, open_split(PACKED, "train").images[:SETTLING], device)
    with output("baseline") as (folder, log):
        metrics = train_network(
            network,
            open_split(PACKED, "train"),
            open_split(PACKED, "calibration"),
            Recipe(**baseline.model_dump(exclude={"pretrained"})),
            [1.0],
            Augmentation(params.data.resolution, **params.augment.model_dump()),
            device,
            log,
            "baseline",
            precision=train.precision,
            unfinished=unfinished("baseline"),
        )
        checkpoint.save(folder, network, {"seed": train.seed, "metrics": metrics})


if __name__ == "__main__":
    run(main)
