"""What each of several processes does in the tests of training under torchrun; each writes what it found."""

import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from earlyexit.common.files import write_json
from earlyexit.model.inference import prepare_torch
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.training import distributed, loop
from earlyexit.training.augment import Augmentation
from earlyexit.training.loop import Recipe
from earlyexit.training.trainers import train_exits, train_network
from tests import tiny_network

SIZE = 16
CPU = torch.device("cpu")
TRAIN = tiny_network.dark_and_bright(66, SIZE)
HELD_OUT = tiny_network.dark_and_bright(21, SIZE, seed=1)
AUGMENTATION = Augmentation(SIZE, min_crop=0.6, flip=0.5, brightness=0.1, contrast=0.1)
PLAIN = Recipe(epochs=2, batch_size=16, learning_rate=0.01, weight_decay=0.01)  # 4 batches, and one of 2
ODD = Recipe(2, 13, 0.01, 0.01, freeze_norm=True)
DISTILLED = Recipe(2, 21, 0.01, 0.01, small_epochs=1, distill=0.5, temperature=2.0)
CASES: dict[str, dict[str, Any]] = {
    "joint": {"weights": [0.3, 0.3, 1.0], "recipe": PLAIN, "augmentation": None},
    "joint augmented": {"weights": [0.3, 0.3, 1.0], "recipe": DISTILLED, "augmentation": AUGMENTATION},
    "joint without the last": {"weights": [0.3, 1.0, 0.0], "recipe": PLAIN, "augmentation": None},
    "joint with frozen norm": {"weights": [0.3, 0.3, 1.0], "recipe": ODD, "augmentation": None},
    "exits": {"recipe": DISTILLED, "augmentation": None},
    "exits augmented": {"recipe": PLAIN, "augmentation": AUGMENTATION},
}
UNFINISHED = "unfinished"
UNEVEN = "uneven"


class Stopped(BaseException):
    """The end of a training that was to be interrupted."""


def train(case: str, unfinished: Path | None = None, last: int = 0) -> dict[str, Tensor]:
    """Train a network, in float64; return its weights, each step's loss, each epoch's metrics; stop after `last`."""
    prepare_torch(0, 1, "cpu")
    network = EarlyExitNetwork(tiny_network.architecture(resolution=SIZE))
    normalize = network.normalize
    network.double().normalize = lambda images: normalize(images).double()  # type: ignore[method-assign]
    losses: list[Tensor] = []
    logged: list[list[float]] = []
    step = loop._Step.__call__

    def watched(self: Any, batch: Any, rate: float) -> tuple[Tensor, Tensor]:
        loss, right = step(self, batch, rate)
        losses.append(distributed.total(loss))
        return loss, right

    def log(epoch: int, metrics: dict[str, float]) -> None:
        logged.append(list(metrics.values()))
        if epoch == last:
            raise Stopped

    arguments: dict[str, Any] = {
        "train": TRAIN,
        "held_out": HELD_OUT,
        "device": CPU,
        "log": log,
        "unfinished": unfinished,
    }
    loop._Step.__call__ = watched  # type: ignore[method-assign]
    try:
        if "exits" in case:
            train_exits(network, **arguments, **CASES[case])
        else:
            train_network(network, title="joint", **arguments, **CASES[case])
    except Stopped:
        pass
    finally:
        loop._Step.__call__ = step  # type: ignore[method-assign]
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    none = torch.zeros(0)
    return {**state, "losses": torch.stack(losses) if losses else none, "metrics": torch.tensor(logged)}


def main() -> None:
    """Do all that the tests compare."""
    out = Path(os.environ["RANKS_OUT"])
    distributed.join(CPU)
    rank = distributed.rank()
    for case in CASES:
        save_file(train(case), out / f"{case}-{rank}.safetensors")
    train("joint augmented", out / UNFINISHED, last=1)
    save_file(train("joint augmented", out / UNFINISHED), out / f"{UNFINISHED}-{rank}.safetensors")
    distributed.part = lambda count: (0, count) if rank == 0 else (count, count)
    save_file(train("joint augmented"), out / f"{UNEVEN}-{rank}.safetensors")
    write_json(out / f"{rank}.json", {"processes": distributed.processes(), "main": distributed.is_main()})
    distributed.leave()


if __name__ == "__main__":
    main()
