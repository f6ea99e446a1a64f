import pytest

from earlyexit.budget.cost import cost
from earlyexit.quantization.recipe import WeightFormat
from tests import tiny_network
from tests.tiny_network import FAMILIES, Family


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("per_channel", [True, False])
def test_weights_of_four_bits_take_more_cycles_and_as_many_macs(family: Family, per_channel: bool) -> None:
    network = tiny_network.architecture(family)
    eight, four = (WeightFormat(per_channel, bits) for bits in (8, 4))
    assert cost("macs", four)(network) == cost("macs", eight)(network)
    assert 1 < cost("cycles", four)(network) / cost("cycles", eight)(network) < 1.25
