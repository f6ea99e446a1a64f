"""Stage shrink: the baseline without the channels that matter least, trained on; as it is without prune.target."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from earlyexit.common.files import replacing_folder
from earlyexit.model import facts
from earlyexit.params import Params, load
from stages import run

if TYPE_CHECKING:
    from torch import Tensor

    from earlyexit.model.network import EarlyExitNetwork
    from earlyexit.training.loop import Log
    from earlyexit.training.trainers import Session

BASELINE = Path("models/baseline")
SHRUNK = "shrunk"
IMAGES = 2048  # of the train split, on which importance is measured


def main() -> None:
    """Write models/shrunk: models/baseline at prune.target of its cost, or a copy, without the log of its training."""
    params = load()
    if params.prune.target is None:
        with replacing_folder(Path("models", SHRUNK)) as folder:
            facts.copy(BASELINE, folder)
    else:
        _shrink(params, params.prune.target)


def _shrink(params: Params, target: float) -> None:
    # Imported here: PyTorch takes seconds to load, which a copy need not wait for.
    from earlyexit.budget.cost import cost as cost_of
    from earlyexit.model import checkpoint
    from earlyexit.pruning.budget import least_cost, narrowed
    from earlyexit.training.distributed import launch
    from earlyexit.training.trainers import train_baseline
    from stages.logs import training

    if launch("stages.shrink", params.train.processes):
        return
    prune, cost = params.prune, cost_of(params.prune.cost, params.weight_format())
    network = checkpoint.load(BASELINE)
    checkpoint.check_finite(network.state_dict(), BASELINE / facts.WEIGHTS)
    whole, channels = cost(network.architecture), _channels(network)
    least = least_cost(network, prune.multiple, cost) / whole
    if least > target:
        raise ValueError(
            f"prune.target: {target:g} of the baseline's {prune.cost} cannot be reached with prune.multiple: "
            f"{prune.multiple}; at least {ceil(1000 * least) / 1000:g} can"
        )
    with training(SHRUNK, params.train, params.augment) as (folder, session):
        for step in range(1, prune.steps + 1):
            importance = _importance(network, params, session)
            limit = whole * target ** (step / prune.steps)
            network = narrowed(network.cpu(), importance, limit, prune.multiple, cost)
            step_session = _of_step(session, step, prune.epochs)
            metrics = train_baseline(network, prune.recipe(params.baseline), step_session, "prune")
        share = cost(network.architecture) / whole
        found = {
            "target": target,
            "cost": prune.cost,
            "importance": prune.importance,
            "steps": prune.steps,
            "channels": channels,
            "removed": channels - _channels(network.cpu()),
            "left": share,
        }
        checkpoint.save(folder, network, {"seed": params.train.seed, "metrics": metrics, "shrunk": found})
    print(f"models/{SHRUNK}: {share:.1%} of the baseline's {prune.cost}")


def _importance(network: EarlyExitNetwork, params: Params, session: Session) -> dict[str, Tensor]:
    from earlyexit.pruning.importance import by_loss, by_scale

    if params.prune.importance == "scale":
        return by_scale(network)
    train = session.train
    return by_loss(network, train.images[:IMAGES], train.labels[:IMAGES], session.device)


def _channels(network: EarlyExitNetwork) -> int:
    from earlyexit.pruning.layers import layers, widths

    return sum(widths(layers(network)).values())


def _of_step(session: Session, step: int, epochs: int) -> Session:
    """Return `session` with a state of its own, so that an interruption loses no finished step, and counted epochs."""
    assert session.unfinished is not None
    return replace(session, unfinished=session.unfinished / f"step{step}", log=_later(session.log, (step - 1) * epochs))


def _later(log: Log, epochs: int) -> Log:
    return lambda epoch, metrics: log(epochs + epoch, metrics)


if __name__ == "__main__":
    run(main)
