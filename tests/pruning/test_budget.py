import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from earlyexit.budget.cost import cost as cost_of
from earlyexit.budget.cost import estimated_cycles, macs
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.pruning.budget import least_cost, narrowed
from earlyexit.pruning.importance import by_scale
from earlyexit.pruning.layers import layers, widths
from earlyexit.quantization.recipe import WeightFormat
from tests import tiny_network
from tests.model.test_network import architectures
from tests.tiny_network import FAMILIES, Family


def plain(family: Family, **changes: int) -> EarlyExitNetwork:
    structure = tiny_network.architecture(family, resolution=16)
    return tiny_network.network(structure.model_copy(update={"exits": [], "head_channels": [], **changes}))


def logits(network: EarlyExitNetwork) -> np.ndarray:
    with torch.no_grad():
        x = network.eval().normalize(torch.from_numpy(tiny_network.images(4, network.resolution, seed=1)))
        found: np.ndarray = network(x)[-1].numpy()
    return found


@settings(max_examples=15, deadline=None)
@given(
    architectures(),
    st.floats(0.3, 0.95),
    st.sampled_from([1, 2, 4]),
    st.sampled_from(["cycles", "macs"]),
    st.sampled_from([4, 8]),
)
def test_the_result_fits_and_keeps_multiples(
    structure: object, share: float, multiple: int, name: str, bits: int
) -> None:
    assert isinstance(structure, type(tiny_network.architecture()))
    network = tiny_network.network(structure.model_copy(update={"exits": [], "head_channels": []}))
    cost, before = cost_of(name, WeightFormat(bits=bits)), widths(layers(network))
    limit = share * cost(network.architecture)
    try:
        found = narrowed(network, by_scale(network), limit, multiple, cost)
    except ValueError as error:
        assert f"multiples of {multiple} costs" in str(error)
        assert least_cost(network, multiple, cost) > limit
        return
    assert cost(found.architecture) <= limit
    for group, width in widths(layers(found)).items():
        assert width == before[group] or width % multiple == 0
        assert min(multiple, before[group]) <= width <= before[group]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_result_is_the_network_with_those_channels_at_0(family: Family) -> None:
    network = plain(family)
    importance = by_scale(network)
    found = narrowed(network, importance, 0.8 * macs(network.architecture), 1, macs)
    left = widths(layers(found))
    with torch.no_grad():
        for layer in layers(network):
            if layer.reads not in importance or layer.depthwise:
                continue
            order = importance[layer.reads].argsort(stable=True)
            gone = order[: len(order) - left[layer.reads]]
            weight = layer.module.weight if isinstance(layer.module, torch.nn.Linear) else layer.module.conv.weight
            weight[:, gone] = 0
    assert sum(left.values()) < sum(widths(layers(network)).values())
    assert np.allclose(logits(found), logits(network), atol=1e-5)


def test_equal_input_gives_equal_networks() -> None:
    networks = [plain("mobilenet_v2") for _ in range(2)]
    found = [
        narrowed(one, by_scale(one), 0.7 * estimated_cycles(one.architecture), 2, estimated_cycles) for one in networks
    ]
    first, second = (one.state_dict() for one in found)
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_smallest_network_can_be_reached(family: Family) -> None:
    network = plain(family)
    least = least_cost(network, 4, macs)
    found = narrowed(network, by_scale(network), least, 4, macs)
    assert macs(found.architecture) == least
    before = widths(layers(network))
    assert widths(layers(found)) == {group: min(4, width) for group, width in before.items()}


def test_too_small_a_limit_is_named() -> None:
    network = plain("mobilenet_v2")
    with pytest.raises(
        ValueError, match=r"smallest network whose widths are multiples of 4 costs [\d,]+, more than 10"
    ):
        narrowed(network, by_scale(network), 10, 4, macs)
