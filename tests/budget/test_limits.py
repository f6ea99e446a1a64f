import pytest

from earlyexit.budget.limits import Footprint, check, flash, largest, measure_all
from earlyexit.tflite import arena
from earlyexit.tflite.arena import Arena, Peak
from earlyexit.tflite.deployment import Deployment

PEAK = Peak(0, "CONV_2D", 4608, ((1, 40, 40, 3),), ((1, 20, 20, 8),))
SEGMENTS = [
    Footprint("exit1", 100, Arena(3000, 500, 3500), 800, PEAK),
    Footprint("final", 900, Arena(3600, 100, 3700), 0, PEAK),
]


def test_measures_each_file(deployed: Deployment) -> None:
    found = measure_all(deployed.names, deployed.models)
    assert [footprint.kept for footprint in found] == [10 * 10 * 8, 10 * 10 * 8, 0]
    for footprint, name, model in zip(found, deployed.names, deployed.models, strict=True):
        assert (footprint.name, footprint.flash, footprint.peak) == (name, len(model), arena.peak(model))
        assert footprint.arena == arena.measure(model)


def test_all_files_share_flash_and_one_arena() -> None:
    assert flash(SEGMENTS) == 1000
    assert largest(SEGMENTS) == SEGMENTS[0]
    assert largest(SEGMENTS).sram == 4300


def test_a_budget_that_is_just_met() -> None:
    check(SEGMENTS, 1000, 4300)
    check(SEGMENTS, 990, 4300, slack=10)


@pytest.mark.parametrize(
    ("flash_limit", "sram_limit", "message"),
    [
        (999, 4300, r"^memory.flash_limit: .* 1,000 of 999 bytes; the largest file is the segment of final, 900 bytes"),
        (1000, 4299, r"^memory.sram_limit: .* 4,300 of 4,299 bytes; the segment of exit1 peaks at CONV_2D 40x40x3 -> "),
        (1, 1, r"^memory.flash_limit: .*; memory.sram_limit: .*\. Raise the limit or shrink the network: "),
    ],
)
def test_a_budget_that_is_missed_is_named_in_one_line(flash_limit: int, sram_limit: int, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        check(SEGMENTS, flash_limit, sram_limit)
    assert "\n" not in str(caught.value)
