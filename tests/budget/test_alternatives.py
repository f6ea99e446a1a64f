from itertools import accumulate

import pytest

from earlyexit.budget import alternatives, design
from earlyexit.budget.alternatives import Alternatives, check, markdown, over_budget, survey
from earlyexit.model.architecture import Head
from tests import tiny_network
from tests.tiny_network import FAMILIES, Family

PLAIN = tiny_network.architecture(exits=[], head_channels=[])


@pytest.fixture(scope="module")
def found() -> Alternatives:
    return survey(PLAIN, "separable", 8, 3)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", ["separable", "strided", "pooled"])
def test_a_set_costs_what_the_design_of_its_network_says(family: Family, head: Head) -> None:
    found = survey(tiny_network.architecture(family, exits=[], head_channels=[]), head, 8, 3)
    for exits in [(0,), (2,), (1, 3), (0, 1, 3)]:
        names = [found.blocks[place] for place in exits]
        network = tiny_network.architecture(family, exits=names, head=head, head_channels=[8] * len(names))
        expected = design.survey(network)
        assert found.macs.of(exits) == list(accumulate(part.macs for part in expected.segments))
        assert found.macs.whole == expected.baseline.macs
        flash, sram = found.memory(exits)
        assert sram == max(part.footprint.sram for part in expected.segments)
        real = sum(part.footprint.flash for part in expected.segments)
        assert real <= flash <= real + 2 * design.SLACK * len(expected.segments)


def test_a_head_costs_the_same_wherever_it_stands_in_a_set(found: Alternatives) -> None:
    for costs in (found.macs, found.cycles):
        one, two = costs.of((3,)), costs.of((1, 3))
        assert two[0] == costs.until[1] + costs.heads[1]
        assert two[1] - one[0] == pytest.approx(costs.heads[1])
        assert two[2] - one[1] == pytest.approx(costs.heads[1])
        assert one[1] == pytest.approx(costs.whole + costs.heads[3])


def test_mobilenet_v1_has_no_exit_after_its_last_block() -> None:
    found = survey(tiny_network.architecture("mobilenet_v1", exits=[], head_channels=[]), "pooled", 8, 1)
    assert found.blocks == ["block1", "block2", "block3", "block4"]
    assert found.segments.keys() == {*((-1, k) for k in range(4)), *((k, None) for k in range(4))}


def test_counts_what_the_budget_rules_out(found: Alternatives) -> None:
    needs = [found.memory(exits) for exits in found.sets(2)]
    assert len(needs) == 10
    flash, sram = (sorted(values)[5] for values in zip(*needs, strict=True))
    row = over_budget(found, 2, flash, sram)
    assert row["within"] == sum(a <= flash and b <= sram for a, b in needs)
    assert (row["over_flash"], row["over_sram"]) == (sum(a > flash for a, _ in needs), sum(b > sram for _, b in needs))
    assert f"| 2 | separable | 10 | {row['over_flash']} | {row['over_sram']} | {row['within']} |" in markdown(
        [row], flash, sram
    )


def test_a_budget_that_leaves_one_set_is_enough(found: Alternatives) -> None:
    for exits in found.sets(1):
        check([found], 3, *found.memory(exits))


def test_a_budget_that_leaves_nothing_is_named_with_the_smallest_need(found: Alternatives) -> None:
    needs = {exits: found.memory(exits) for size in (1, 2, 3) for exits in found.sets(size)}
    least = [min(need[index] for need in needs.values()) for index in (0, 1)]
    with pytest.raises(ValueError, match=rf"^memory.flash_limit: .*needs {least[0]:,} of 10 bytes\S* "):
        check([found], 3, 10, 10**9)
    with pytest.raises(ValueError, match=rf"^memory.sram_limit: .*\(separable\), needs {least[1]:,} of 10 bytes"):
        check([found], 3, 10**9, 10)
    with pytest.raises(ValueError, match=r"^memory.flash_limit: .*; memory.sram_limit: "):
        check([found], 3, 10, 10)
    apart = min(needs.values(), key=lambda need: need[1])
    if apart[0] > least[0]:
        with pytest.raises(ValueError, match="none fits both"):
            check([found], 3, least[0], apart[1])


def test_names_of_sets(found: Alternatives) -> None:
    assert alternatives.name(found.attached((0, 2))) == "block1, block3 (separable)"
