from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from earlyexit.model.network import ConvUnit, EarlyExitNetwork
from earlyexit.training.fake_quantization import (
    FakeQuantizedActivations,
    FakeQuantizedWeights,
    fake_quantized,
    learned_ranges,
    settled,
)
from tests import tiny_network
from tests.tiny_network import FAMILIES, Family

SIZE = 32
VALUES = st.floats(-100, 100, width=32)


def folded(family: Family = "mobilenet_v2") -> EarlyExitNetwork:
    return tiny_network.network(tiny_network.architecture(family, resolution=SIZE)).fold()


def shown(network: EarlyExitNetwork, batches: int = 3) -> EarlyExitNetwork:
    """Return `network` after some batches in training mode."""
    generator = torch.Generator().manual_seed(0)
    network.train()
    for _ in range(batches):
        network(torch.rand(4, 3, SIZE, SIZE, generator=generator) * 2 - 1)
    return network


@given(arrays.arrays(np.float32, (3, 2, 3, 3), elements=VALUES), st.sampled_from([4, 8]), st.booleans())
def test_weights_are_the_nearest_of_their_steps(weight: np.ndarray, bits: int, per_channel: bool) -> None:
    found = FakeQuantizedWeights(bits, per_channel)(torch.tensor(weight)).numpy()
    top = 2 ** (bits - 1) - 1
    axes = (1, 2, 3) if per_channel else None
    scale = np.maximum(np.abs(weight).max(axes, keepdims=True), 1e-9) / top
    assert np.abs(found / scale - np.rint(found / scale)).max() < 1e-3
    assert np.abs(found - weight).max() <= scale.max() * 0.501
    assert np.allclose(np.abs(found).max(axes), np.abs(weight).max(axes), rtol=1e-6, atol=1e-9)


@given(arrays.arrays(np.float32, (20,), elements=VALUES))
def test_activations_are_the_nearest_of_256_that_include_0(values: np.ndarray) -> None:
    rounding = FakeQuantizedActivations(steps=1)
    found = rounding(torch.tensor(values)).numpy()
    step = max(values.max(initial=0) - values.min(initial=0), 1e-9) / 255
    assert np.abs(found - values).max() <= step * 1.01  # half a step, and half a step of the zero point
    assert rounding(torch.zeros(1)).item() == 0
    scale, zero = rounding.grid()
    assert -128 <= zero <= 127 and scale > 0


def test_a_range_follows_in_training_alone_and_stops() -> None:
    rounding = FakeQuantizedActivations(steps=2)
    rounding(torch.tensor([-1.0, 2.0]))
    rounding(torch.tensor([-3.0, 2.0]))
    assert (float(rounding.low), float(rounding.high)) == pytest.approx((-1.02, 2.0))
    rounding(torch.tensor([-9.0, 9.0]))  # the third step of two
    rounding.steps = 10
    rounding.eval()(torch.tensor([-9.0, 9.0]))
    assert (float(rounding.low), float(rounding.high)) == pytest.approx((-1.02, 2.0))


@pytest.mark.parametrize("family", FAMILIES)
def test_settled_has_the_rounded_weights_also_when_folded(family: Family) -> None:
    rounding = shown(fake_quantized(folded(family), 4, per_channel=True, steps=3))
    plain = settled(rounding).fold()
    units = [[m for m in network.modules() if isinstance(m, ConvUnit)] for network in (rounding, plain)]
    assert len(units[0]) == len(units[1]) > 3
    for trained, unit in zip(*units, strict=True):
        assert torch.equal(trained.conv.weight, unit.conv.weight)
        assert trained.conv.bias is not None and unit.conv.bias is not None
        assert torch.equal(trained.conv.bias, unit.conv.bias)
        assert all(len(channel.unique()) <= 15 for channel in unit.conv.weight)


def test_ranges_of_segments_meet_and_start_with_the_image() -> None:
    rounding = shown(fake_quantized(folded(), 8, per_channel=True, steps=3))
    ranges = learned_ranges(rounding)
    low, high = rounding.architecture.pixels.range
    assert ranges[0][0] == pytest.approx((low, high), abs=(high - low) / 255)
    for before, after in pairwise(ranges):
        assert after[0] in before[1:]


def test_a_range_without_values_is_named() -> None:
    rounding = fake_quantized(folded(), 8, per_channel=True, steps=3)
    with pytest.raises(ValueError, match="range from 0 to 0, so they have no scale; train again"):
        learned_ranges(rounding)
