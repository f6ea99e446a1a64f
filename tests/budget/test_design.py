import pytest

from earlyexit.budget import limits
from earlyexit.budget.blueprint import blueprint
from earlyexit.budget.design import SLACK, Design, check, markdown, survey, verdict
from earlyexit.tflite.deployment import macs
from tests import tiny_network

ARCHITECTURE = tiny_network.architecture()
PLAIN = tiny_network.architecture(exits=[], head_channels=[])


@pytest.fixture(scope="module")
def design() -> Design:
    return survey(ARCHITECTURE)


def test_figures_are_those_of_the_files(design: Design) -> None:
    for part, model in zip(design.segments, blueprint(ARCHITECTURE), strict=True):
        assert part.footprint == limits.measure_all([part.footprint.name], [model])[0]
        assert part.macs == macs(model)
    (baseline,) = blueprint(PLAIN)
    assert design.baseline.footprint == limits.measure_all(["final"], [baseline])[0]
    assert design.baseline.macs == macs(baseline)


def test_features_are_what_the_backbone_gives(design: Design) -> None:
    assert [part.features for part in design.segments] == [(10, 10, 8), (10, 10, 8), (5, 5, 16)]
    assert [part.footprint.kept for part in design.segments] == [800, 800, 0]
    assert (design.baseline.features, design.baseline.footprint.kept) == ((5, 5, 16), 0)
    pooled = survey(tiny_network.architecture("mobilenet_v1", head="pooled"))
    assert [part.features for part in pooled.segments] == [(10, 10, 8), (10, 10, 12), (5, 5, 16)]


def test_markdown_shows_the_same_numbers(design: Design) -> None:
    lines = [line for line in markdown(design).splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    rows = [[cell.strip(" *").replace(",", "") for cell in line.split("|")[1:-1]] for line in lines]
    assert len(rows) == 2 + 3 + 2
    parts = [*design.segments, design.baseline]
    spent = 0
    for cells, part in zip([*rows[2:5], rows[6]], parts, strict=True):
        need = part.footprint
        numbers = [part.weights, need.flash, need.arena.head, need.arena.tail, need.kept, need.sram]
        assert [int(cell) for cell in cells[5:]] == numbers
        assert float(cells[3]) == pytest.approx(part.macs / 1e6, abs=5e-4)
        spent = part.macs if part is design.baseline else spent + part.macs
        assert float(cells[4].rstrip("%")) == pytest.approx(100 * spent / design.baseline.macs, abs=0.06)
        assert cells[2] == "x".join(map(str, part.features))
    assert [cells[1] for cells in rows[2:]] == [
        "stem to block1", "block2 to block3", "block4 to last", "", "stem to last",
    ]  # fmt: skip
    total = rows[5]
    flash, sram = limits.flash(design.footprints), limits.largest(design.footprints).sram
    weights = sum(part.weights for part in design.segments)
    assert (int(total[5]), int(total[6]), int(total[10])) == (weights, flash, sram)
    assert total[4] == rows[4][4]


def test_a_segment_of_one_block_is_called_by_it() -> None:
    design = survey(tiny_network.architecture(exits=["block1", "block2"]))
    assert "| segment 2 (exit2) | block2 | 10x10x8 |" in markdown(design)


def test_a_budget_that_is_just_met(design: Design) -> None:
    flash, sram = limits.flash(design.footprints), limits.largest(design.footprints).sram
    assert verdict(design, flash, sram).splitlines() == [
        f"flash: {flash:,} of {flash:,} bytes: fits",
        f"SRAM: {sram:,} of {sram:,} bytes: fits; segment 1 (exit1) peaks at {design.footprints[0].peak}",
    ]


def test_a_budget_that_is_just_missed(design: Design) -> None:
    needs = limits.flash(design.footprints), limits.largest(design.footprints).sram
    flash, sram = verdict(design, needs[0] - 1, needs[1] - 1234).splitlines()
    assert flash.endswith("bytes: over by 1 bytes")
    assert "bytes: over by 1,234 bytes; segment 1 (exit1) peaks at CONV_2D 40x40x3 -> 20x20x8 " in sram


def test_a_network_beyond_any_arena_names_the_layer() -> None:
    huge = tiny_network.architecture(resolution=2000)
    with pytest.raises(ValueError, match=r"^the segment of final: TFLM cannot load .* CONV_2D 2000x2000x3 -> 1000x"):
        survey(huge)


def test_a_budget_is_refused_where_no_weights_would_fit(design: Design) -> None:
    flash, sram = limits.flash(design.footprints), limits.largest(design.footprints).sram
    slack = SLACK * len(design.segments)
    check(design, flash - slack, sram)
    with pytest.raises(ValueError, match=r"^memory.flash_limit"):
        check(design, flash - slack - 1, sram)
