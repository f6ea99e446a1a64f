import copy
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from earlyexit.model.architecture import Architecture
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.pruning.exact import Group, prune
from earlyexit.pruning.layers import layers, widths
from tests import tiny_network
from tests.model.test_network import architectures
from tests.pruning.planted import makers, plant, silence, unit
from tests.tiny_network import FAMILIES, Family


def answers(network: EarlyExitNetwork, count: int = 6) -> list[Tensor]:
    pixels = torch.from_numpy(tiny_network.images(count, network.resolution, seed=3))
    with torch.no_grad():
        found: list[Tensor] = network(network.normalize(pixels).to(network.classifier.linear.weight.dtype))
    return found


def by_name(groups: list[Group]) -> dict[str, Group]:
    return {group.name: group for group in groups}


def pruned_or_skipped(network: EarlyExitNetwork, multiple: int) -> tuple[EarlyExitNetwork, list[Group]] | None:
    try:
        return prune(network, multiple)
    except ValueError as error:
        assert "always gives the same answer" in str(error)
        return None


@st.composite
def planted(draw: st.DrawFn, value: st.SearchStrategy[float]) -> tuple[EarlyExitNetwork, dict[str, set[int]]]:
    """A random network, and the channels of each of some groups that were silenced."""
    network = tiny_network.network(draw(architectures()), draw(st.integers(0, 1000)))
    chosen: dict[str, set[int]] = {}
    for name, width in widths(layers(network)).items():
        if draw(st.booleans()):
            channels = draw(st.sets(st.integers(0, width - 1), min_size=1, max_size=width - 1))
            plant(network, name, sorted(channels), draw(value))
            chosen[name] = channels
    return network, chosen


@settings(max_examples=40, deadline=None)
@given(planted(st.sampled_from([0.0, -0.7])), st.sampled_from([1, 4]))
def test_without_zero_channels_the_logits_are_the_same(
    made: tuple[EarlyExitNetwork, dict[str, set[int]]], multiple: int
) -> None:
    network, chosen = made
    for name in chosen:
        for layer in makers(network, name):
            if isinstance(layer.act, nn.Identity):
                silence(layer, sorted(chosen[name]), 0.0)
    result = pruned_or_skipped(network, multiple)
    if result is None:
        return
    smaller, groups = result
    # The terms that are left are the same. PyTorch may add them in another order, so float32 may round differently.
    for before, after in zip(answers(network.double()), answers(smaller.double()), strict=True):
        tolerance = 1e-12 if not any(group.constant.any() for group in groups) else 1e-6
        torch.testing.assert_close(before, after, rtol=tolerance, atol=tolerance)
    for before, after in zip(answers(network.float()), answers(smaller.float()), strict=True):
        torch.testing.assert_close(before, after, rtol=1e-6, atol=1e-6)
    found = by_name(groups)
    for name, channels in chosen.items():
        assert (found[name].zero | found[name].constant)[sorted(channels)].all()
        if multiple == 1:
            assert not channels & set(found[name].kept.tolist())


@settings(max_examples=40, deadline=None)
@given(planted(st.floats(-2, 7, width=32)), st.sampled_from([1, 4]))
def test_without_constant_channels_the_logits_differ_by_rounding_alone(
    made: tuple[EarlyExitNetwork, dict[str, set[int]]], multiple: int
) -> None:
    network, _ = made
    result = pruned_or_skipped(network, multiple)
    if result is None:
        return
    smaller, groups = result
    for before, after in zip(answers(network), answers(smaller), strict=True):
        torch.testing.assert_close(before, after, rtol=1e-5, atol=1e-5)
    whole, left = widths(layers(network)), widths(layers(smaller))
    assert {group.name: group.removed for group in groups} == {name: whole[name] - left[name] for name in whole}
    for name, width in left.items():
        assert width % multiple == 0 or width == whole[name]
    assert Architecture.model_validate(smaller.architecture.model_dump()) == smaller.architecture
    again, _ = prune(smaller, multiple)
    assert again is smaller


@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_in_which_every_channel_varies_is_returned_as_it_is(family: Family) -> None:
    network = tiny_network.network(tiny_network.architecture(family))
    same, groups = prune(network, 1)
    assert same is network
    assert all(group.removed == 0 and not any(group.reasons.values()) for group in groups)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_network_and_its_mode_stay_as_they_are(family: Family) -> None:
    network = tiny_network.network(tiny_network.architecture(family)).train()
    plant(network, "block4", [1, 2, 5], 0.0)
    before = copy.deepcopy(network.state_dict())
    smaller, _ = prune(network, 1)
    assert smaller.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_all_parts_of_the_architecture_shrink() -> None:
    network = tiny_network.network(tiny_network.architecture())
    for name in ("stem", "block1", "block2.hidden", "block4", "last", "exit1"):
        plant(network, name, [0, 1, 2, 3], 0.0)
    smaller, _ = prune(network, 4)
    left = smaller.architecture.widths
    assert (left.stem, left.last) == (4, 12)
    assert [(block.hidden, block.channels) for block in left.blocks] == [(4, 4), (12, 4), (16, 4), (16, 8), (24, 8)]
    assert smaller.architecture.head_channels == [4, 8]
    assert [block.shortcut for block in smaller.architecture.blocks] == [False, True, True, False, True]


def test_a_head_alone_that_shrinks_leaves_the_backbone_that_of_the_table() -> None:
    network = tiny_network.network(tiny_network.architecture())
    plant(network, "exit2", [0, 1, 2, 3], -1.0)
    smaller, _ = prune(network, 4)
    assert smaller.architecture == network.architecture.model_copy(update={"head_channels": [8, 4]})


def reasons(network: EarlyExitNetwork, group: str, multiple: int = 1) -> dict[str, int]:
    found = by_name(prune(network, multiple)[1])[group]
    return {reason: count for reason, count in found.reasons.items() if count}


def test_a_width_stays_a_multiple() -> None:
    network = tiny_network.network(tiny_network.architecture())
    plant(network, "block2.hidden", [0, 1, 2, 3, 4], -1.0)
    _, groups = prune(network, 4)
    group = by_name(groups)["block2.hidden"]
    assert (group.entry()["zero"], group.entry()["left"], group.kept.tolist()[0]) == (4, 12, 0)
    assert reasons(network, "block2.hidden", 4) == {"multiple": 1}


def test_a_shortcuts_channel_stays_where_its_other_side_varies() -> None:
    network = tiny_network.network(tiny_network.architecture())
    first, second, third = makers(network, "block1")
    silence(first, [1, 3], 0.0)
    assert reasons(network, "block1") == {"shortcut": 2}
    for other in (second, third):
        silence(other, [1], 0.0)
    assert reasons(network, "block1") == {"shortcut": 1}
    assert by_name(prune(network, 1)[1])["block1"].removed == 1


def test_a_constant_that_is_padded_stays() -> None:
    network = tiny_network.network(tiny_network.architecture("mobilenet_v1"))
    silence(unit(network, "blocks.stem"), [2, 5], 1.0)
    silence(unit(network, "blocks.stem"), [3], -1.0)
    assert reasons(network, "stem") == {"padding": 2}


def test_a_channel_that_only_an_exit_reads_stays() -> None:
    network = tiny_network.network(tiny_network.architecture("mobilenet_v1"))
    silence(unit(network, "blocks.block2.0"), [4], -1.0)
    assert reasons(network, "block1") == {"reader": 1}
    silence(unit(network, "exits.0.conv.0"), [4], -1.0)
    assert by_name(prune(network, 1)[1])["block1"].removed == 1


@pytest.mark.parametrize("multiple", [1, 4])
def test_a_dead_branch_beside_a_shortcut_keeps_a_few_channels(multiple: int) -> None:
    network = tiny_network.network(tiny_network.architecture())
    plant(network, "block3.hidden", list(range(16)), -1.0)
    smaller, _ = prune(network, multiple)
    assert widths(layers(smaller))["block3.hidden"] == multiple
    for before, after in zip(answers(network), answers(smaller), strict=True):
        torch.testing.assert_close(before, after, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("group", "layer", "outputs", "classifier"),
    [
        ("stem", "blocks.stem", 8, "exit1"),
        ("exit2", "exits.1.conv.1", 8, "exit2"),
        ("last", "blocks.last", 16, "final"),
    ],
)
def test_a_dead_layer_is_named_with_what_it_costs(group: str, layer: str, outputs: int, classifier: str) -> None:
    network = tiny_network.network(tiny_network.architecture())
    for made in makers(network, group):
        silence(made, list(range(outputs)), -1.0)
    message = f"{layer}: its {outputs} outputs are the same for every image, so {classifier} always gives"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        prune(network, 4)


def test_a_classifier_without_weights_is_dead() -> None:
    network = tiny_network.network(tiny_network.architecture())
    nn.init.zeros_(network.classifier.linear.weight)
    with pytest.raises(ValueError, match=r"^classifier\.linear: its 2 outputs .* so final always"):
        prune(network, 4)
