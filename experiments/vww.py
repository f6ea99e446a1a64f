"""The recipe for all of Visual Wake Words, 115,228 photographs: what differs from params.yaml.

    python -m experiments.vww       prints the recipe as options of `dvc exp run`; `make vww` runs it

benchmarks.full_scale measures what it costs.
"""

RECIPE = (
    "data.source=coco2014",
    # About 6,000 photographs. The accuracy on them has a 95 % interval of 1.3 points to either side, at most.
    "data.calibration_share=0.05",
    # Epochs that two cores can do in less than five hours, even where other programs use them too. Twice the batch of
    # params.yaml at its rates, as there are enough steps. None of it was tuned on these photographs.
    "baseline.epochs=30",
    "baseline.small_epochs=20",
    "baseline.batch_size=128",
    "disjoint.epochs=10",
    "disjoint.batch_size=128",
    "joint.epochs=8",
    "joint.batch_size=128",
)
"""Leaves of params.yaml and their values."""


def main() -> None:
    """Print the options."""
    print(*(f"-S {change}" for change in RECIPE))


if __name__ == "__main__":
    main()
