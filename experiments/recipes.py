"""Recipes: what differs from params.yaml.

python -m experiments.recipes NAME      prints a recipe as options of `dvc exp run`; `make vww` and others run them
"""

import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from stages import run

# Epochs that two cores can do in less than five hours, even where other programs use them too. Twice the batch of
# params.yaml at its rates, as there are enough steps. None of it was tuned on these photographs.
# benchmarks.full_scale measures what it costs.
VWW = (
    "data.source=coco2014",
    # About 6,000 photographs. The accuracy on them has a 95 % interval of 1.3 points to either side, at most.
    "data.calibration_share=0.05",
    "baseline.epochs=30",
    "baseline.small_epochs=20",
    "baseline.batch_size=128",
    "disjoint.epochs=10",
    "disjoint.batch_size=128",
    "joint.epochs=8",
    "joint.batch_size=128",
)

# The default network on some ten thousand photographs with a teacher: 80 minutes on two cores. Chosen on the
# calibration split. The baseline's rate in params.yaml is too high for photographs: the loss falls only at the end.
PHOTOS = (
    "augment.min_crop=0.7",
    "augment.brightness=0.2",
    "augment.contrast=0.2",
    "baseline.epochs=90",
    "baseline.small_epochs=60",
    "baseline.learning_rate=0.007",
    "baseline.weight_decay=0.01",
    "baseline.average=0.999",
    "baseline.distill=0.6",
    "disjoint.epochs=10",
    "disjoint.distill=0.9",
    "disjoint.temperature=1",
    "joint.epochs=6",
    "joint.distill=0.9",
    "joint.temperature=1",
    "joint.w_exits=1.0",
    "teacher.share=0.5",
    "qat.distill=1.0",
    "qat.temperature=1",
)

# Instead of the baseline's leaves of PHOTOS, where baseline.pretrained is given: the weights as they are.
CONTINUED = ("baseline.epochs=0", "baseline.small_epochs=0")

# A trained MobileNetV1 as it is. Its own outputs teach the exits, whose places are searched.
PRETRAINED = (
    "model.backbone=mobilenet_v1",
    "exits.placement=searched",
    "baseline.epochs=0",
    "baseline.small_epochs=0",
    "disjoint.epochs=20",
    "disjoint.distill=0.9",
    "disjoint.temperature=4",
    "joint.epochs=6",
    "joint.distill=0.9",
    "joint.temperature=4",
    "joint.freeze_norm=true",
)

# A network of more weights than the default one, in the same flash and SRAM, by weights of four bits. Found with
# `python -m earlyexit.budget`. TFLM unpacks the weights of a layer in its arena, so the last exit sits further back and
# leaves less of the network to one segment.
FOUR_BITS = (
    "ptq.bits=4",
    "qat.epochs=2",
    "model.mobilenet_v2.blocks=[[1,12,1,2],[3,12,1,1],[6,20,5,2],[6,40,4,2],[6,56,2,1],[6,72,1,2]]",
    "exits.mobilenet_v2=[block3,block6,block11]",
)

RECIPES: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "vww": VWW,
        "photos": PHOTOS,
        "photos-continued": (*(change for change in PHOTOS if not change.startswith("baseline.")), *CONTINUED),
        "photos-pretrained": PRETRAINED,
        "four-bits": FOUR_BITS,
    }
)
"""Leaves of params.yaml and their values, by name."""


def main() -> None:
    """Print the options of the recipe that the command line names.

    Raises:
        ValueError: there is no such recipe.
    """
    name = " ".join(sys.argv[1:])
    if name not in RECIPES:
        raise ValueError(f"no recipe {name!r}; there are {', '.join(RECIPES)}")
    print(*(f"-S {change}" for change in RECIPES[name]))


if __name__ == "__main__":
    run(main)
