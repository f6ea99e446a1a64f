import subprocess
import sys
from pathlib import Path

import pytest

from earlyexit.budget import limits
from earlyexit.budget.__main__ import main
from earlyexit.budget.design import markdown, survey
from earlyexit.params import Params, load, overridden
from earlyexit.quantization.recipe import WeightFormat
from tests import ROOT


@pytest.fixture(scope="module")
def params() -> Params:
    return load(ROOT / "params.yaml")


def test_overrides_are_yaml_at_dotted_names(params: Params) -> None:
    changed = overridden(
        params,
        [
            "data.resolution=88",
            "model.mobilenet_v2.stem=8",
            "model.mobilenet_v2.width=5e-1",
            "model.mobilenet_v2.blocks=[[1, 8, 1, 2], [2, 12, 4, 2]]",
            "exits.mobilenet_v2=[block1,block3,block5]",
            "exits.head=pooled",
        ],
    )
    assert changed.data.resolution == 88
    table = changed.model.mobilenet_v2
    assert (table.stem, table.width, table.blocks) == (8, 0.5, [(1, 8, 1, 2), (2, 12, 4, 2)])
    assert (changed.exits.mobilenet_v2, changed.exits.head) == (["block1", "block3", "block5"], "pooled")
    assert changed.model.mobilenet_v1 == params.model.mobilenet_v1


def test_without_overrides_nothing_changes(params: Params) -> None:
    assert overridden(params, []) == params


def test_the_last_of_two_overrides_counts(params: Params) -> None:
    assert overridden(params, ["data.resolution=88", "data.resolution=80"]).data.resolution == 80


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.mobilenet_v2.stm=8", r"model\.mobilenet_v2\.stm: unknown; check the spelling"),
        ("model.mobilenet_v3.stem=8", r"model\.mobilenet_v3\.stem: unknown"),
        ("data.resolution.x=8", r"data\.resolution\.x: unknown"),
        ("=8", ": unknown"),
        ("data.resolution", r"data\.resolution: no value; write name=value"),
        ("data.resolution=", r"data\.resolution: .*\(got None\)"),
        ("data.resolution=eighty", r"data\.resolution: .*integer \(got 'eighty'\)"),
        ("data.resolution=90", r"data\.resolution: .*multiple of 8 \(got 90\)"),
        ("exits.mobilenet_v2=[block1", r"exits\.mobilenet_v2: not valid YAML"),
        ("exits.mobilenet_v2=[block3,block1,block5]", r"exits\.mobilenet_v2: .* must ascend"),
        ("exits.mobilenet_v2=[block1,block2,block99]", r"exits\.mobilenet_v2: no 'block99'"),
        ("ptq.bits=6", r"ptq\.bits: Input should be a multiple of 4 \(got 6\)"),
        ("model.mobilenet_v2.blocks=[[1, 2, 3]]", r"model\.mobilenet_v2\.blocks\.0\.3: missing"),
    ],
)
def test_a_wrong_override_is_named_in_one_line(override: str, message: str) -> None:
    with pytest.raises(SystemExit, match=f"^{message}") as caught:
        main([override], ROOT / "params.yaml")
    assert "\n" not in str(caught.value)


def test_weights_of_four_bits_take_less_flash(params: Params, capsys: pytest.CaptureFixture[str]) -> None:
    main(["ptq.bits=4"], ROOT / "params.yaml")
    printed = capsys.readouterr().out
    design = survey(params.architecture(), WeightFormat(bits=4))
    assert printed.startswith(markdown(design))
    assert limits.flash(design.footprints) < 0.7 * limits.flash(survey(params.architecture()).footprints)


def test_missing_params_are_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"params\.yaml: not found"):
        main([], tmp_path / "params.yaml")


def test_prints_the_table_and_loads_no_framework(params: Params) -> None:
    script = (
        "import sys; from earlyexit.budget.__main__ import main; main(sys.argv[1:]);"
        "print(*{'torch', 'tensorflow', 'litert_torch', 'ai_edge_quantizer', 'jax', 'pandas'} & set(sys.modules))"
    )
    changes = ["data.resolution=64", "model.mobilenet_v2.width=0.5"]
    process = subprocess.run(
        [sys.executable, "-c", script, *changes], cwd=ROOT, capture_output=True, text=True, check=True
    )
    *lines, frameworks = process.stdout.splitlines()
    design = survey(overridden(params, changes).architecture())
    assert "\n".join(lines).startswith(markdown(design))
    flash, sram = overridden(params, changes).budget()
    assert lines[-2] == f"flash: {limits.flash(design.footprints):,} of {flash:,} bytes: fits"
    assert lines[-1].startswith(f"SRAM: {limits.largest(design.footprints).sram:,} of {sram:,} bytes: fits; segment ")
    assert (frameworks, process.stderr) == ("", "")
