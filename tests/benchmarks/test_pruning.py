import pytest

from benchmarks import pruning
from earlyexit.params import load, overridden
from earlyexit.pruning.exact import prune
from tests import ROOT, tiny_network
from tests.pruning.planted import plant


def test_fp32_logits_agree_and_a_difference_is_counted() -> None:
    network = tiny_network.network(tiny_network.architecture(exits=[], head_channels=[]))
    plant(network, "last", [0, 1, 2, 3], -1.0)
    smaller, _ = prune(network, 4)
    images = tiny_network.images(12)
    found = pruning.agreement(network, smaller, images)
    assert (found.images, found.same_label) == (12, 12)
    assert found.largest < 1e-6
    other = pruning.agreement(network, tiny_network.network(network.architecture, seed=1), images)
    assert other.equal == 0
    assert other.largest > 0.01


def test_weights_are_asked_for() -> None:
    with pytest.raises(ValueError, match=r"^baseline\.pretrained: null; give a safetensors file"):
        pruning.given(overridden(load(ROOT / "params.yaml"), ["baseline.pretrained=null"]))
