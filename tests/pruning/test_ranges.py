import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from earlyexit.model.architecture import Architecture
from earlyexit.model.network import ConvUnit
from earlyexit.pruning.layers import layers
from earlyexit.pruning.ranges import Range, after_unit
from tests import tiny_network
from tests.model.test_network import architectures


@torch.no_grad()
def pointwise(inputs: int, weight: float, biases: list[float], act: nn.Module) -> ConvUnit:
    made = ConvUnit(inputs, len(biases), act=act).eval()
    made.conv.weight.fill_(weight)
    assert isinstance(made.norm, nn.BatchNorm2d)
    made.norm.get_buffer("running_var").fill_(1 - 1e-5)
    made.norm.bias.copy_(torch.tensor(biases))
    return made


def between(low: list[float], high: list[float]) -> Range:
    return Range.between(torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64))


@settings(max_examples=30)
@given(architectures(), st.integers(0, 1000))
def test_no_value_lies_outside_its_range(architecture: Architecture, seed: int) -> None:
    network = tiny_network.network(architecture, seed)
    seen: dict[str, Tensor] = {}
    modules = {layer.name: layer for layer in layers(network)}
    for name, module in network.named_modules():
        if name in modules:
            module.register_forward_hook(lambda _, __, y, name=name: seen.update({name: y.clone()}))
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (4, architecture.resolution, architecture.resolution, 3), generator=rng)
    pixels[:2] = 255 * (pixels[:2] > 127)
    with torch.no_grad():
        network(network.normalize(pixels))
    assert seen.keys() == modules.keys()
    for name, layer in modules.items():
        values = seen[name].double().transpose(0, 1).flatten(1)
        off = (values - layer.made.centre[:, None]).abs().amax(1)
        if layer.makes == "logits":  # only whether they vary is asked, so no rounding error is added
            off = off - 1e-4
        assert (off <= layer.made.radius).all(), name


def test_a_channel_without_weights_has_one_value() -> None:
    found = after_unit(pointwise(2, 0, [-1.0, 2.0, 9.0], nn.ReLU6()), between([-1, -1], [1, 1]))
    assert found.constant.tolist() == [True, True, True]
    assert found.centre.tolist() == [0, 2, 6]


def test_a_bias_below_all_sums_is_dead_and_one_that_a_sum_can_reach_is_not() -> None:
    # The second's largest sum is 0, which float32 may round to more.
    found = after_unit(pointwise(1, 1, [-2.01, -2.0, -1.99], nn.ReLU()), between([-3], [2]))
    assert found.constant.tolist() == [True, False, False]


def test_padding_makes_a_constant_vary_unless_it_is_zero() -> None:
    depthwise = ConvUnit(2, 2, kernel=3, groups=2, act=nn.ReLU()).eval()
    nn.init.ones_(depthwise.conv.weight)
    assert after_unit(depthwise, between([0, 1], [0, 1])).constant.tolist() == [True, False]
