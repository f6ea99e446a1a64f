"""What many tests share: torch on one thread, hypothesis that repeats itself, one network converted once."""

import gc
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import settings

from earlyexit.model.network import EarlyExitNetwork
from earlyexit.quantization import convert
from earlyexit.quantization.deploy import deploy as quantized
from earlyexit.quantization.recipe import Quantizer, Weights
from earlyexit.tflite.deployment import Deployment
from tests import tiny_network

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The file that takes longest starts first, beside all others."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def at_the_end_of_the_stack() -> Iterator[None]:
    """For too deep a nesting: garbage of other tests whose finalizers run then would fail for want of stack."""
    gc.disable()
    yield
    gc.enable()


@dataclass(frozen=True)
class Exported:
    """A network with two exits, folded; its float .tflite segments; images that it was not trained on."""

    network: EarlyExitNetwork
    segments: list[bytes]
    images: np.ndarray

    @property
    def normalized(self) -> np.ndarray:
        """The images as the network sees them."""
        return self.network.architecture.pixels.images(self.images)


@pytest.fixture(scope="session")
def exported() -> Exported:
    torch.set_num_threads(1)
    network = tiny_network.network(tiny_network.architecture()).fold()
    images = tiny_network.images(96, seed=1)
    images[0, 0, :2, 0] = 0, 255  # TensorFlow's quantizer knows the range of pixels from the images alone
    return Exported(network, convert.to_tflite(network), images)


@pytest.fixture(scope="session")
def deployed(exported: Exported) -> Deployment:
    """The exported network, INT8."""
    return deploy(exported, "litert")


@pytest.fixture(scope="session")
def deployments(exported: Exported, deployed: Deployment) -> dict[Quantizer, Deployment]:
    """The exported network, INT8, by each quantizer."""
    return {"litert": deployed, "tensorflow": deploy(exported, "tensorflow")}


@pytest.fixture(scope="session")
def per_tensor(exported: Exported) -> Deployment:
    """The exported network, INT8, one scale for all weights of a layer."""
    return deploy(exported, "litert", "per_tensor")


@pytest.fixture(scope="session")
def four_bits(exported: Exported) -> Deployment:
    """The exported network, INT8 with INT4 weights of its convolutions."""
    return deploy(exported, "litert", bits=4)


def deploy(exported: Exported, quantizer: Quantizer, weights: Weights = "per_channel", *, bits: int = 8) -> Deployment:
    return quantized(exported.segments, exported.network.architecture, exported.images, quantizer, weights, bits=bits)
