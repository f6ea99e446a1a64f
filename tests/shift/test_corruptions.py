import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from earlyexit.shift.corruptions import CORRUPTIONS, corrupted

IMAGES = st.integers(4, 40).flatmap(lambda side: arrays(np.uint8, (side, side, 3)))
GREY = np.full((16, 16, 3), 100, np.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
@settings(max_examples=15)
@given(image=IMAGES, image_id=st.integers(0, 2**63 - 1))
def test_a_corruption_keeps_shape_and_type_and_leaves_its_input_alone(
    name: str, image: np.ndarray, image_id: int
) -> None:
    before = image.copy()
    found = corrupted(name, image, image_id)
    assert found.shape == image.shape
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(corrupted(name, image, image_id), found)


def test_each_does_what_its_words_say() -> None:
    assert set(corrupted("darkness", GREY, 1).ravel()) == {50}
    assert set(corrupted("overexposure", GREY, 1).ravel()) == {200}
    assert corrupted("overexposure", 2 * GREY, 1).min() == 255
    edge = GREY.copy()
    edge[:, 8:] = 200
    assert corrupted("low contrast", edge, 1).std() == pytest.approx(edge.std() / 2, rel=0.02)
    step = np.abs(np.diff(corrupted("blur", edge, 1).astype(int), axis=1)).max()
    assert 0 < step < 60
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 200
    assert corrupted("hue", red, 1)[0, 0].tolist() == [100, 200, 0]
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert (corrupted("JPEG", noise, 1) != noise).any()


def test_noise_depends_on_the_id_alone() -> None:
    one = corrupted("noise", GREY, 1)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    np.testing.assert_array_equal(corrupted("noise", GREY, 1), one)
    assert torch.equal(torch.get_rng_state(), state)
    assert (corrupted("noise", GREY, 2) != one).any()
    assert (one.astype(float) - 100).std() == pytest.approx(0.03 * 255, rel=0.1)
