"""Stage qat: a network trained while it rounds as its quantized file will; a copy of the network without qat.epochs."""

import sys
from pathlib import Path

from earlyexit.common.files import replacing_folder
from earlyexit.model import facts, ranges
from earlyexit.params import Params, load
from stages import run


def main() -> None:
    """Write models/qat/NAME from models/pruned/NAME; the first argument is NAME, baseline or early_exit."""
    name = sys.argv[1]
    params = load()
    if params.qat.epochs:
        _train(name, params)
        return
    with replacing_folder(Path("models/qat", name)) as folder:
        facts.copy(Path("models/pruned", name), folder)
        ranges.write(folder, [])


def _train(name: str, params: Params) -> None:
    # Imported here: torch and the converter take seconds to load, which a mere copy need not wait for.
    from earlyexit.model import checkpoint
    from earlyexit.quantization.convert import keep_biases
    from earlyexit.training.distributed import launch
    from earlyexit.training.trainers import train_quantized
    from stages.logs import training

    if launch("stages.qat", params.train.processes, name):
        return
    weights, source = params.weight_format(), Path("models/pruned", name)
    with training(f"qat/{name}", params.train, params.augment, teacher_share=None) as (folder, session):
        network = checkpoint.load(source)
        checkpoint.check_finite(network.state_dict(), source / facts.WEIGHTS)
        keep_biases(network.fold())
        shares = params.joint.loss_weights(len(network.exits))
        trained, found, metrics = train_quantized(
            network, params.qat, shares, session, bits=weights.bits, per_channel=weights.per_channel
        )
        checkpoint.save(folder, trained, {**facts.facts(source), "metrics": metrics})
        ranges.write(folder, found)


if __name__ == "__main__":
    run(main)
