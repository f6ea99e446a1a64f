import subprocess
import sys

from earlyexit.params import load, overridden
from experiments.vww import RECIPE
from tests import ROOT


def test_the_recipe_is_valid_and_changes_every_leaf_once() -> None:
    params = overridden(load(ROOT / "params.yaml"), RECIPE)
    assert params.data.source == "coco2014"
    assert params.baseline.small_epochs < params.baseline.epochs
    leaves = [change.partition("=")[0] for change in RECIPE]
    assert len(set(leaves)) == len(leaves)


def test_the_recipe_is_printed_as_options() -> None:
    command = [sys.executable, "-m", "experiments.vww"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert printed.split() == [word for change in RECIPE for word in ("-S", change)]


def test_what_the_user_adds_comes_after_the_recipe() -> None:
    command = ["make", "-n", "vww", "ARGS=-S joint.w_final=0.5"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    (line,) = [line for line in printed.splitlines() if "dvc exp run" in line]
    assert line.endswith("python -m experiments.vww) -S joint.w_final=0.5")
    assert "--temp" not in line
