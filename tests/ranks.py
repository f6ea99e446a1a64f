"""What each of several processes does in the tests of training under torchrun; each writes what it found."""

import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from earlyexit.common.files import write_json
from earlyexit.model.inference import prepare_torch
from earlyexit.training import distributed, loop
from tests import tiny_network, tiny_training
from tests.tiny_training import AUGMENT, CPU, SIZE

TRAIN = tiny_network.dark_and_bright(66, SIZE)
HELD_OUT = tiny_network.dark_and_bright(21, SIZE, seed=1)
PLAIN = {"epochs": 2, "learning_rate": 0.01}  # 4 batches, and one of 2
ODD = PLAIN | {"batch_size": 13, "freeze_norm": True}
DISTILLED = PLAIN | {"batch_size": 21, "distill": 0.5, "temperature": 2.0}
GROWING = PLAIN | {"batch_size": 21, "small_epochs": 1}
CASES: dict[str, dict[str, Any]] = {
    "baseline": {"stage": "baseline", "recipe": GROWING, "augment": AUGMENT},
    "joint": {"recipe": PLAIN},
    "joint augmented": {"recipe": DISTILLED, "augment": AUGMENT},
    "joint without the last": {"weights": [0.3, 1.0, 0.0], "recipe": PLAIN},
    "joint with frozen norm": {"recipe": ODD},
    "exits": {"stage": "disjoint", "recipe": DISTILLED},
    "exits augmented": {"stage": "disjoint", "recipe": PLAIN, "augment": AUGMENT},
}
UNFINISHED = "unfinished"
UNEVEN = "uneven"
QUANTIZED = "quantized"


class Stopped(BaseException):
    """The end of a training that was to be interrupted."""


def train(case: str, unfinished: Path | None = None, last: int = 0) -> dict[str, Tensor]:
    """Train a network, in float64; return its weights, each step's loss, each epoch's metrics; stop after `last`."""
    prepare_torch(0, 1, "cpu")
    settings: dict[str, Any] = {"stage": "joint"} | CASES[case]
    network = tiny_training.network(settings["stage"])
    normalize = network.normalize
    network.double().normalize = lambda images: normalize(images).double()  # type: ignore[method-assign]
    losses: list[Tensor] = []
    logged: list[list[float]] = []
    step = loop.Step.__call__

    def watched(self: Any, batch: Any, rate: float) -> tuple[Tensor, Tensor]:
        loss, right = step(self, batch, rate)
        losses.append(distributed.total(loss))
        return loss, right

    def log(epoch: int, metrics: dict[str, float]) -> None:
        logged.append(list(metrics.values()))
        if epoch == last:
            raise Stopped

    loop.Step.__call__ = watched  # type: ignore[method-assign]
    try:
        tiny_training.train(network=network, train=TRAIN, held_out=HELD_OUT, log=log, unfinished=unfinished, **settings)
    except Stopped:
        pass
    finally:
        loop.Step.__call__ = step  # type: ignore[method-assign]
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    none = torch.zeros(0)
    return {**state, "losses": torch.stack(losses) if losses else none, "metrics": torch.tensor(logged)}


def quantized() -> dict[str, Tensor]:
    """Train a network that rounds; return its weights and ranges. In float32, as rounding needs it."""
    prepare_torch(0, 1, "cpu")
    network = tiny_training.network("qat")
    tiny_training.train("qat", network, TRAIN, HELD_OUT, log=lambda epoch, metrics: None, recipe=DISTILLED)
    return {name: value.contiguous() for name, value in network.state_dict().items()}


def main() -> None:
    """Do all that the tests compare."""
    out = Path(os.environ["RANKS_OUT"])
    distributed.join(CPU)
    rank = distributed.rank()
    for case in CASES:
        save_file(train(case), out / f"{case}-{rank}.safetensors")
    save_file(quantized(), out / f"{QUANTIZED}-{rank}.safetensors")
    train("joint augmented", out / UNFINISHED, last=1)
    save_file(train("joint augmented", out / UNFINISHED), out / f"{UNFINISHED}-{rank}.safetensors")
    distributed.part = lambda count: (0, count) if rank == 0 else (count, count)
    save_file(train("joint augmented"), out / f"{UNEVEN}-{rank}.safetensors")
    write_json(out / f"{rank}.json", {"processes": distributed.processes(), "main": distributed.is_main()})
    distributed.leave()


if __name__ == "__main__":
    main()
