"""Print what the network in params.yaml would cost on a device, in seconds and without training.

    python -m earlyexit.budget
    python -m earlyexit.budget model.mobilenet_v2.stem=8 data.resolution=88 'exits.mobilenet_v2=[block1,block3,block5]'

Overrides are those of `dvc exp run -S`: dotted names of params, values in YAML. The table lists multiply-accumulates,
weights, flash and TFLM arena of every segment and of the baseline; below it stands what the budget in params allows.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from earlyexit.budget.design import markdown, survey, verdict
from earlyexit.params import load, overridden


def main(arguments: Sequence[str], path: Path | str = "params.yaml") -> None:
    """Print the table of the network in `path` under the overrides in `arguments`.

    Raises:
        SystemExit: the params file or an override is wrong; the message names it.
    """
    try:
        params = overridden(load(path), arguments)
        design = survey(params.architecture(), params.weight_format())
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(str(error)) from None
    print(f"{markdown(design)}\n{verdict(design, *params.budget())}", end="")


if __name__ == "__main__":
    main(sys.argv[1:])
