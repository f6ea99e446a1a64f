"""Stage verify: the C library that is shipped, under every exit policy, on an emulated Cortex-M4."""

from pathlib import Path

import numpy as np

from earlyexit.common.files import read_json, write_json
from earlyexit.dataset import open_split
from earlyexit.emulation.verify import choose_images, verify
from earlyexit.evaluation import costs, per_image
from earlyexit.firmware import packages
from earlyexit.params import load
from earlyexit.policy.decision import decide
from earlyexit.policy.policies import load_policies
from earlyexit.tflite import deployment
from stages import run


def main() -> None:
    """Check every decision of the library on images of val; write models/verified.json."""
    params = load()
    network = deployment.load(Path("models/int8/early_exit"))
    policies = load_policies("models/policies.json")
    built_in = policies.named(params.firmware.policy).name
    logits = per_image.load(Path("models/evaluation/val.safetensors")).int8_early_exit
    exits = np.stack([decide(logits, one.thresholds, one.patience).exits for one in policies.policies])
    rows = choose_images(exits, min(params.emulate.cascade_images, logits.shape[1]))
    images = network.quantize(open_split("data/packed", "val").images[rows])
    library = packages.read_library(Path("models/firmware"))
    cycles = costs.emulated(read_json("reports/emulated.json"))
    found = verify(library, images, policies.policies, built_in, cycles, params.emulate.refill)
    write_json("models/verified.json", found)
    print(f"{found['decisions']} decisions of {len(policies.policies)} policies on {found['images']} images are equal")
    for name, entry in found["policies"].items():
        print(f"{name}: {entry['cycles']:,} cycles, computed {entry['cycles_computed']:,}, exits {entry['exits']}")


if __name__ == "__main__":
    run(main)
