import torch

from earlyexit.quantization.deploy import deploy_network
from earlyexit.tflite.deployment import Deployment
from tests import tiny_network
from tests.conftest import Exported


def test_a_network_is_quantized_as_its_segments_are(exported: Exported, deployed: Deployment) -> None:
    network = tiny_network.network(tiny_network.architecture())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert deploy_network(network, exported.images, "litert") == deployed
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
