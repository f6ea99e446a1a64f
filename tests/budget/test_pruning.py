from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earlyexit.budget import cycles, design, pruning
from earlyexit.budget.blueprint import blueprint
from earlyexit.model.architecture import Architecture
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.pruning.exact import prune
from earlyexit.pruning.layers import layers, widths
from earlyexit.pruning.slicing import sliced_architecture
from earlyexit.quantization.recipe import EIGHT_BITS
from earlyexit.tflite import deployment
from earlyexit.tflite.reader import operators
from tests import tiny_network
from tests.pruning.planted import plant
from tests.pruning.test_exact import planted, pruned_or_skipped

NOTHING = "no channel has one value for every image and can be removed."


def report(*groups: str, multiple: int = 4) -> dict[str, Any]:
    """The baseline as it is, and the early-exit network with four dead channels in each of `groups`."""
    plain = tiny_network.architecture(exits=[], head_channels=[])
    network = tiny_network.network(tiny_network.architecture())
    for group in groups:
        plant(network, group, [0, 1, 2, 3], 0.0)
    smaller, found = prune(network, multiple)
    kept = {"exact": True, "multiple": multiple}
    channels = {
        "baseline": {**kept, "groups": []},
        "early_exit": {**kept, "groups": [group.entry() for group in found]},
    }
    before = {"baseline": plain, "early_exit": network.architecture}
    after = {"baseline": plain, "early_exit": smaller.architecture}
    return pruning.report(before, after, channels, EIGHT_BITS, shrunk=None)


def test_the_parts_sum_up_to_what_the_design_says() -> None:
    found = report("block2.hidden", "exit1", "last")["early_exit"]
    measured = design.survey(tiny_network.architecture())
    for cost in ("macs", "weights"):
        assert sum(part["before"][cost] for part in found["parts"]) == sum(
            getattr(part, cost) for part in measured.segments
        )
    assert found["flash"]["before"] == sum(part.footprint.flash for part in measured.segments)
    assert found["flash"]["after"] < found["flash"]["before"]
    names = ["stem", "block1", "exit1", "block2", "block3", "exit2", "block4", "block5", "last", "final"]
    assert [part["part"] for part in found["parts"]] == names


def test_only_the_parts_that_lost_channels_or_their_readers_are_cheaper() -> None:
    parts = report("block2.hidden", "exit1", "last")["early_exit"]["parts"]
    cheaper = [part["part"] for part in parts if part["after"]["macs"] < part["before"]["macs"]]
    assert cheaper == ["exit1", "block2", "last", "final"]
    channels = {part["part"]: (part["before"]["channels"], part["after"]["channels"]) for part in parts}
    assert channels["block2"] == ([16, 8], [12, 8])
    assert (channels["exit1"], channels["last"], channels["final"]) == (([8], [4]), ([16], [12]), ([], []))


def test_a_network_that_lost_nothing_gets_one_sentence() -> None:
    lines = pruning.markdown(report()).split("\n")
    assert [line for line in lines if line] == [f"The baseline: {NOTHING}", f"The early-exit network: {NOTHING}"]


def test_the_table_and_the_reasons_are_there() -> None:
    text = pruning.markdown(report("block2.hidden"))
    assert "The early-exit network: 4 of 132 channels are removed, 4 always 0, 0 other constants." in text
    assert "| block2 | 16 / 8 | 12 / 8 |" in text
    kept = pruning.markdown(report("block2.hidden", multiple=16))
    assert "4 constant channels stay (block2.hidden): they keep a width a multiple of 16." in kept


@pytest.mark.parametrize("name", ["baseline", "early_exit"])
def test_a_network_that_was_not_looked_at_says_so(name: str) -> None:
    found = report()
    found[name] = {**found[name], "exact": False}
    assert "`prune.exact` is false" in pruning.markdown(found)


def test_a_baseline_that_was_shrunk_gets_its_table() -> None:
    whole = tiny_network.architecture(exits=[], head_channels=[])
    found = layers(tiny_network.network(whole))
    every = {name: range(width) for name, width in widths(found).items()}
    after = sliced_architecture(whole, found, {**every, "last": range(8)})
    channels = {"exact": True, "multiple": 4, "groups": []}
    shrunk = {"target": 0.7, "cost": "cycles", "importance": "taylor", "channels": 132, "removed": 8, "left": 0.6912}
    networks = {"baseline": whole, "early_exit": whole}
    report = pruning.report(
        networks, {**networks, "baseline": after}, dict.fromkeys(networks, channels), EIGHT_BITS, shrunk=shrunk
    )
    assert pruning.changed(report["baseline"]) and not pruning.changed(report["early_exit"])
    text = pruning.markdown(report)
    assert "The baseline: 8 of 132 channels are removed by importance (`prune.importance`: taylor)." in text
    assert "69.1 % of its cycles are left (`prune.target`: 0.7)." in text
    assert text.count("| last | 16 | 8 |") == 1


def until_each_exit(architecture: Architecture) -> list[tuple[float, float]]:
    """Cycles and multiply-accumulates of an image that leaves at each classifier."""
    models = blueprint(architecture)
    estimated = accumulate(cycles.estimate(operators(model)) for model in models)
    return list(zip(estimated, accumulate(map(deployment.macs, models)), strict=True))


@settings(max_examples=30, deadline=None)
@given(planted(st.sampled_from([0.0, -0.7])), st.sampled_from([1, 4]))
def test_no_exit_is_slower_to_reach_than_before(
    made: tuple[EarlyExitNetwork, dict[str, set[int]]], multiple: int
) -> None:
    # The logits are the same, and so are the exits at each percentile: then no mean over the exits is larger either.
    network, _ = made
    result = pruned_or_skipped(network, multiple)
    if result is None:
        return
    smaller, groups = result
    before, after = map(until_each_exit, (network.architecture, smaller.architecture))
    for was, now in zip(before, after, strict=True):
        assert now[0] <= was[0]
        assert now[1] <= was[1]
    if any(group.removed for group in groups):
        assert after[-1] < before[-1]
