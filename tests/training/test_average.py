import copy

import pytest
import torch
from torch import nn

from earlyexit.training.average import Average


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def changed(network: nn.Module) -> None:
    """Change all weights and statistics, as a step does."""
    network(torch.randn(2, 3, 4, 4))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("decay", [0.3, 0.9])
def test_it_is_the_moving_average_of_all_steps(decay: float) -> None:
    network = model()
    average, expected = Average(network, decay), state(network)
    for n in range(20):
        changed(network)
        average.update()
        share = min(decay, (1 + n) / (10 + n)) if n else 0.0  # the first step is taken as it is
        for name, value in network.state_dict().items():
            expected[name] = (
                share * expected[name] + (1 - share) * value if value.is_floating_point() else value.clone()
            )
    average.keep()
    found = network.state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    assert found["1.num_batches_tracked"] == 20


def test_the_last_weights_come_back() -> None:
    network = model()
    average = Average(network, 0.9)
    for _ in range(3):
        changed(network)
        average.update()
    last = state(network)
    with average.in_place():
        assert not torch.equal(network.state_dict()["0.weight"], last["0.weight"])
    for name, value in network.state_dict().items():
        assert torch.equal(value, last[name])


def test_without_decay_the_last_weights_count() -> None:
    network = model()
    average = Average(network, 0)
    changed(network)
    average.update()
    last = state(network)
    with average.in_place():
        assert torch.equal(network.state_dict()["0.weight"], last["0.weight"])
    average.keep()
    assert torch.equal(network.state_dict()["0.weight"], last["0.weight"])
    assert average.state_dict() == {}


def test_it_goes_on_from_its_state() -> None:
    network = model()
    whole = Average(network, 0.9)
    for _ in range(3):
        changed(network)
        whole.update()
    other = Average(copy.deepcopy(network), 0.9)
    other.load_state_dict(copy.deepcopy(whole.state_dict()))
    assert other.state_dict().keys() == whole.state_dict().keys()
    for name, value in other.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name])
