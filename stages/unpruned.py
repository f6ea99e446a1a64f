"""Stage unpruned: what the baseline before pruning is worth in INT8, where pruning changed it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from earlyexit.common.files import write_json
from earlyexit.model import facts
from earlyexit.params import Params, load
from stages import run

UNPRUNED, PRUNED = Path("models/baseline"), Path("models/pruned/baseline")


def main() -> None:
    """Write models/unpruned.json: accuracy and costs of the unpruned baseline; null where it is the pruned one."""
    params = load()
    same = facts.architecture(UNPRUNED) == facts.architecture(PRUNED)
    found = None if same else _measure(params)
    write_json("models/unpruned.json", found)
    print("the baseline has lost no channel" if found is None else f"the unpruned baseline: {found}")


def _measure(params: Params) -> dict[str, Any]:
    # Imported here: the converter takes seconds to load, which a network that lost nothing need not wait for.
    from earlyexit.dataset import balanced_up_to, open_split
    from earlyexit.emulation import emulate, report
    from earlyexit.evaluation import latency
    from earlyexit.evaluation.statistics import accuracy
    from earlyexit.model import checkpoint
    from earlyexit.model.inference import prepare_torch
    from earlyexit.policy import decision
    from earlyexit.quantization.deploy import deploy_network
    from earlyexit.tflite import deployment
    from earlyexit.tflite.segment import all_logits

    prepare_torch(seed=0, threads=1, device="cpu")
    calibration, val = open_split("data/packed", "calibration"), open_split("data/packed", "val")
    ptq = params.ptq
    samples = calibration.images[balanced_up_to(calibration.labels, ptq.images, seed=0)]
    choice = ptq.quantizer, ptq.weights, ptq.ranges, ptq.bits
    unpruned = deploy_network(checkpoint.load(UNPRUNED), samples, *choice)
    pruned = deployment.load(Path("models/int8/baseline"))
    images, segments = unpruned.quantize(val.images), unpruned.segments()
    logits = all_logits(segments, images, "INT8 unpruned baseline")
    timed = latency.measure(pruned.segments()[0], segments, [], images, params.benchmark.passes)
    emulated = calibration.images[emulate.evenly_spread(params.emulate.images, len(calibration))]
    ran = emulate.emulate(unpruned, unpruned.quantize(emulated), refill=params.emulate.refill)
    return {
        "accuracy": asdict(accuracy(decision.labels(logits[0]), val.labels)),
        **report.whole(ran),
        "speedup_measured": timed.baseline / timed.segments[0],
    }


if __name__ == "__main__":
    run(main)
