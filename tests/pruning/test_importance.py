import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from earlyexit.model.network import EarlyExitNetwork
from earlyexit.pruning.importance import by_loss, by_scale
from earlyexit.pruning.layers import layers
from tests import tiny_network
from tests.pruning.planted import plant, unit

CPU = torch.device("cpu")
IMAGES = tiny_network.images(6, 16, seed=3)
LABELS = np.array([0, 1, 0, 1, 1, 0])


def baseline(family: tiny_network.Family = "mobilenet_v2") -> EarlyExitNetwork:
    structure = tiny_network.architecture(family, resolution=16)
    return tiny_network.network(structure.model_copy(update={"exits": [], "head_channels": []}))


def loss(network: EarlyExitNetwork) -> float:
    with torch.no_grad():
        x = network.eval().normalize(torch.from_numpy(IMAGES))
        return float(F.cross_entropy(network(x)[-1], torch.from_numpy(LABELS)))


def test_silent_channels_do_not_matter() -> None:
    for family in tiny_network.FAMILIES:
        network = baseline(family)
        group = "block2" if family == "mobilenet_v1" else "block2.hidden"
        plant(network, group, [0, 2], -1.0)
        found = by_loss(network, IMAGES, LABELS, CPU)[group]
        assert found[[0, 2]].abs().max() == 0
        assert (found > 0).any()


def test_importance_is_the_change_of_the_loss_to_first_order() -> None:
    network = baseline()
    found = by_loss(network, IMAGES, LABELS, CPU)
    step = 1e-3
    for group, name in (("block2.hidden", "blocks.block2.layers.1"), ("last", "blocks.last")):
        norm = unit(network, name).norm
        before = loss(network)
        for channel in range(3):
            state = {key: value.clone() for key, value in norm.state_dict().items()}
            with torch.no_grad():
                for name in ("weight", "bias"):
                    norm.get_parameter(name)[channel] *= 1 - step
            change = (before - loss(network)) / step
            norm.load_state_dict(state)
            assert abs(change**2 - found[group][channel]) <= 0.05 * float(found[group].max())


def test_every_group_has_a_value_for_each_channel() -> None:
    for family in tiny_network.FAMILIES:
        network = baseline(family)
        widths = {layer.makes: len(layer.made.centre) for layer in layers(network) if layer.makes != "logits"}
        for found in (by_scale(network), by_loss(network, IMAGES, LABELS, CPU)):
            assert {name: len(values) for name, values in found.items()} == widths


def test_the_scale_of_a_shortcut_is_that_of_all_its_outputs() -> None:
    network = baseline()
    norms = [unit(network, layer.name).norm for layer in layers(network) if layer.makes == "block1"]
    assert len(norms) == 3  # block1, and the shortcuts of block2 and block3
    expected = torch.stack([norm.get_parameter("weight").abs() for norm in norms]).sum(0)
    assert torch.equal(by_scale(network)["block1"], expected)
