import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earlyexit.common.pixels import Normalization
from earlyexit.tflite import arena
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.reader import logits_and_features
from earlyexit.tflite.segment import Quantization, all_logits, quantize_images, run_in_turn
from tests.conftest import Exported


@pytest.fixture(scope="module")
def images(exported: Exported, deployed: Deployment) -> np.ndarray:
    return deployed.quantize(exported.images)


@pytest.fixture(scope="module")
def logits(deployed: Deployment, images: np.ndarray) -> np.ndarray:
    return all_logits(deployed.segments(), images, "INT8")


def test_the_last_segment_has_no_features(deployed: Deployment, images: np.ndarray) -> None:
    first, _, last = deployed.segments()
    assert first.input_shape == (40, 40, 3)
    assert first.features_shape == last.input_shape == (10, 10, 8)
    assert last.features_shape is None
    assert last.features_quantization is None
    _, features = first(images[0])
    assert features is not None
    answer, none = last(features)
    assert answer.shape == (2,)
    assert none is None


def test_answers_are_copies(deployed: Deployment, images: np.ndarray) -> None:
    segment = deployed.segments()[0]
    logits, features = segment(images[0])
    assert features is not None
    kept = logits.copy(), features.copy()
    segment(images[1])
    assert np.array_equal(logits, kept[0])
    assert np.array_equal(features, kept[1])


def test_reference_kernels_are_tflms(deployed: Deployment, images: np.ndarray) -> None:
    first = deployed.segments(reference=True)[0]
    expected = logits_and_features(arena.run(deployed.models[0], images[:8]))
    for answer, row in zip(expected, zip(*map(first, images[:8]), strict=True), strict=True):
        np.testing.assert_array_equal(answer, row)


def test_optimized_kernels_are_close_to_the_reference(
    deployed: Deployment, images: np.ndarray, logits: np.ndarray
) -> None:
    reference = all_logits(deployed.segments(reference=True), images[:8], "reference")
    assert np.abs(reference.astype(int) - logits[:, :8]).max() <= 8


def test_all_logits_runs_every_segment(deployed: Deployment, images: np.ndarray, logits: np.ndarray) -> None:
    assert logits.shape == (3, len(images), 2)
    x: np.ndarray | None = images[5]
    for k, segment in enumerate(deployed.segments()):
        assert x is not None
        answer, x = segment(x)
        assert np.array_equal(answer, logits[k, 5])


def test_a_segment_runs_when_its_logits_are_asked_for(deployed: Deployment, images: np.ndarray) -> None:
    first = deployed.segments()[0]
    running = run_in_turn([first, None], images[0])  # type: ignore[list-item]
    assert np.array_equal(next(running), first(images[0])[0])


@given(
    offset=st.integers(0, 255),
    divisor=st.integers(1, 255),
    scale=st.floats(1e-3, 1),
    zero_point=st.integers(-128, 127),
    seed=st.integers(0, 99),
)
def test_quantized_pixels_are_the_nearest_levels(
    offset: int, divisor: int, scale: float, zero_point: int, seed: int
) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (2, 3, 3, 3), dtype=np.uint8)
    found = quantize_images(images, Normalization(offset=offset, divisor=divisor), Quantization(scale, zero_point))
    assert found.dtype == np.int8
    assert found.shape == images.shape
    levels = np.arange(-128, 128)
    for pixel, level in zip(images.ravel(), found.ravel(), strict=True):
        distance = np.abs((levels - zero_point) * scale - (int(pixel) - offset) / divisor)
        assert distance[int(level) + 128] <= distance.min() + 1e-9


@pytest.mark.parametrize(
    ("offset", "divisor", "quantization"),
    [(128, 128, Quantization(1 / 128, 0)), (0, 255, Quantization(float(np.float32(1 / 255)), -128))],
)
def test_quantized_pixels_of_either_backbone_are_the_pixels(
    offset: int, divisor: int, quantization: Quantization
) -> None:
    pixels = np.arange(256, dtype=np.uint8)
    assert quantize_images(pixels, Normalization(offset=offset, divisor=divisor), quantization).tolist() == list(
        range(-128, 128)
    )
