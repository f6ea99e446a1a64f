import numpy as np
import pytest

from earlyexit.model.network import EarlyExitNetwork
from earlyexit.pruning.exact import prune
from earlyexit.quantization.deploy import deploy_network
from earlyexit.tflite.segment import all_logits
from tests import tiny_network
from tests.pruning.planted import plant, weaken
from tests.tiny_network import FAMILIES, Family

SILENT = {
    "mobilenet_v2": {"block2.hidden": -0.7, "block3.hidden": -0.7, "block4": 0.0, "last": -0.7, "exit1": -0.7},
    "mobilenet_v1": {"stem": -0.7, "block2": -0.7, "block4": -0.7, "exit2": -0.7},
}


def int8_logits(network: EarlyExitNetwork, images: np.ndarray) -> np.ndarray:
    deployed = deploy_network(network, tiny_network.images(40, seed=1), "litert")
    return all_logits(deployed.segments(reference=True), deployed.quantize(images), "INT8")


@pytest.mark.parametrize("family", FAMILIES)
def test_without_zero_channels_the_int8_logits_are_the_same(family: Family) -> None:
    network = tiny_network.network(tiny_network.architecture(family))
    for group, value in SILENT[family].items():
        plant(network, group, [0, 1, 4, 7], value)
        # A dead channel's weights must not be a layer's largest: they set its scale.
        weaken(network, group, [0, 1, 4, 7])
    smaller, groups = prune(network, 4)
    assert sum(group.removed for group in groups) == 4 * len(SILENT[family])
    images = tiny_network.images(60, seed=2)
    assert np.array_equal(int8_logits(network, images), int8_logits(smaller, images))
