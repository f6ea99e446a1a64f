"""Recipes for photographs: what differs from params.yaml.

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

RECIPES: Mapping[str, Sequence[str]] = MappingProxyType({"vww": VWW})
"""Leaves of params.yaml and their values, by the name of the make target."""


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
