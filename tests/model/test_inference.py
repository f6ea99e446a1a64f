import warnings

import numpy as np
import pytest
import torch

from earlyexit.model.inference import BATCH, predict, prepare_torch
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.training.batches import frozen_features
from tests import tiny_network

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network() -> EarlyExitNetwork:
    return tiny_network.network(tiny_network.architecture(resolution=9))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    found = tiny_network.images(2 * BATCH + 3, 9)
    found.setflags(write=False)  # as a memory-mapped split
    return found


def test_predict_is_the_network_batch_by_batch(network: EarlyExitNetwork, images: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = predict(network, images, CPU)
    assert found.dtype == np.float32
    with torch.no_grad():
        expected = torch.stack(network(network.normalize(torch.from_numpy(images.copy())))).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_predict_leaves_the_network_as_it_was(network: EarlyExitNetwork, images: np.ndarray, training: bool) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train(training)
    predict(network, images, CPU)
    assert all(module.training == training for module in network.modules())
    network.eval()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_frozen_features_are_what_the_classifiers_see(network: EarlyExitNetwork, images: np.ndarray) -> None:
    found = frozen_features(network, images, CPU)
    with torch.no_grad():
        expected = network.features(network.normalize(torch.from_numpy(images.copy())))
    assert len(found) == 3
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_no_images_are_no_answers(network: EarlyExitNetwork, images: np.ndarray) -> None:
    assert predict(network, images[:0], CPU).shape == (3, 0, 2)
    assert [len(feature) for feature in frozen_features(network, images[:0], CPU)] == [0, 0, 0]


def test_the_seed_repeats_the_weights() -> None:
    made = []
    for seed in (3, 3, 4):
        prepare_torch(seed, 1, "cpu")
        made.append(EarlyExitNetwork(tiny_network.architecture()).state_dict())
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])
    assert not all(torch.equal(made[0][name], made[2][name]) for name in made[0])


def test_prepare_sets_the_threads() -> None:
    assert prepare_torch(0, 2, "cpu") == CPU
    assert torch.get_num_threads() == 2


def test_auto_takes_what_is_there() -> None:
    assert prepare_torch(0, 1, "auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_that_is_not_there(device: str) -> None:
    with pytest.raises(ValueError, match=rf"train\.device: '{device}'.*use auto or cpu"):
        prepare_torch(0, 1, device)
