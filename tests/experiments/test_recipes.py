import subprocess
import sys

import pytest

from earlyexit.budget import limits
from earlyexit.budget.design import check, survey
from earlyexit.params import load, overridden
from experiments.recipes import FOUR_BITS, RECIPES, VWW
from tests import ROOT


def printed(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_valid_and_changes_every_leaf_once(name: str) -> None:
    params = overridden(load(ROOT / "params.yaml"), ["baseline.pretrained=weights.safetensors", *RECIPES[name]])
    assert params.baseline.small_epochs < params.baseline.epochs or params.baseline.epochs == 0
    leaves = [change.partition("=")[0] for change in RECIPES[name]]
    assert len(set(leaves)) == len(leaves)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_printed_as_options(name: str) -> None:
    options = printed(sys.executable, "-m", "experiments.recipes", name)
    assert options.split() == [word for change in RECIPES[name] for word in ("-S", change)]


def test_all_of_visual_wake_words_comes_from_coco() -> None:
    assert overridden(load(ROOT / "params.yaml"), VWW).data.source == "coco2014"


def test_the_larger_network_is_larger_and_within_the_budget() -> None:
    default = load(ROOT / "params.yaml")
    params = overridden(default, FOUR_BITS)
    design = survey(params.architecture(), params.weight_format())
    check(design, *params.budget())
    assert limits.flash(design.footprints) < params.budget()[0]
    assert sum(part.macs for part in design.segments) > 1.5 * sum(
        part.macs for part in survey(default.architecture()).segments
    )


def test_a_recipe_that_does_not_exist_is_named() -> None:
    command = [sys.executable, "-m", "experiments.recipes", "all"]
    failed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: ") and "no recipe 'all'; there are vww" in failed.stderr


def run_of(*words: str) -> str:
    """The command that a make target gives to DVC."""
    (line,) = [line for line in printed("make", "-n", *words).splitlines() if "dvc exp run" in line]
    return " ".join(line.split())


def test_what_the_user_adds_comes_after_the_recipe() -> None:
    line = run_of("vww", "ARGS=-S joint.w_final=0.5")
    assert line.endswith("python -m experiments.recipes vww) -S joint.w_final=0.5")
    assert "--temp" not in line


@pytest.mark.parametrize(
    ("words", "recipe", "given"),
    [
        (["photos", "PHOTOS=p"], "photos", ["data.source='$PHOTOS'"]),
        (
            ["photos", "PHOTOS=p", "TEACHER=t", "CAMERA=c"],
            "photos",
            ["data.source='$PHOTOS'", "teacher.model='$TEACHER'", "shift.folder='$CAMERA'"],
        ),
        (
            ["photos", "PHOTOS=p", "PRETRAINED=w"],
            "photos-continued",
            ["data.source='$PHOTOS'", "baseline.pretrained='$PRETRAINED'"],
        ),
        (
            ["photos-pretrained", "PHOTOS=p", "PRETRAINED=w"],
            "photos-pretrained",
            ["data.source='$PHOTOS'", "baseline.pretrained='$PRETRAINED'"],
        ),
    ],
)
def test_photographs_teacher_and_weights_are_added_to_the_recipe(
    words: list[str], recipe: str, given: list[str]
) -> None:
    line = run_of(*words)
    options = " ".join(f'-S "{change}"' for change in given)
    assert line.endswith(f"python -m experiments.recipes {recipe}) {options}")
