"""Copy the reports of one experiment, without those that show or list photographs.

python -m experiments.collect NAME FOLDER
"""

import sys
from pathlib import Path

from earlyexit.common.files import replacing_folder
from experiments.finished import find
from stages import run

PHOTOGRAPHS = {"plots/examples.png", "plots/samples.png", "run.json"}


def main() -> None:
    """Write the experiment's reports into FOLDER, whole or not at all."""
    name, target = sys.argv[1:]
    experiment = find(name)[-1]
    with replacing_folder(Path(target)) as folder:
        for path, content in experiment.reports().items():
            if path not in PHOTOGRAPHS:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(content)
    print(f"{target}: reports of {experiment.name} ({experiment.revision[:7]})")


if __name__ == "__main__":
    run(main)
