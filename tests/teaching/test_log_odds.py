import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earlyexit.teaching.log_odds import are_probabilities, log_odds, read_as

LOGITS = np.random.default_rng(0).normal(0, 3, (50, 3)).astype(np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64))
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float32)


def rounded(probabilities: np.ndarray) -> np.ndarray:
    """As TensorFlow Lite's softmax in bytes."""
    return np.asarray(np.round(probabilities * 256).clip(0, 255) / 256, np.float32)


@pytest.mark.parametrize("person", [0, 1, 2])
def test_logits_and_their_softmax_have_the_same_log_odds(person: int) -> None:
    p = softmax(LOGITS)
    inside = (p[:, person] > 1e-4) & (p[:, person] < 1 - 1e-4)
    assert inside.sum() > 40
    by_logits, by_probabilities = log_odds(LOGITS, person, "logits", 0), log_odds(p, person, "probabilities", 0)
    assert by_logits.dtype == by_probabilities.dtype == np.float32
    np.testing.assert_allclose(by_logits[inside], by_probabilities[inside], atol=2e-3)


def test_of_two_classes_it_is_the_difference_of_the_logits() -> None:
    np.testing.assert_allclose(log_odds(LOGITS[:, :2], 1, "logits", 0), LOGITS[:, 1] - LOGITS[:, 0], rtol=1e-6)


@pytest.mark.parametrize(("step", "floor"), [(0.0, 1e-4), (1 / 256, 1 / 512)])
def test_certainty_is_bounded(step: float, floor: float) -> None:
    certain = np.array([[1, 0], [0, 1]], np.float32)
    bound = np.log((1 - floor) / floor)
    np.testing.assert_allclose(log_odds(certain, 1, "probabilities", step), [-bound, bound], rtol=1e-6)


def test_probabilities_in_bytes_are_probabilities() -> None:
    assert are_probabilities(rounded(softmax(LOGITS)), 1 / 256).all()


@given(st.integers(2, 1000), st.integers(0, 2**32 - 1))
def test_rounded_probabilities_of_many_classes_are_recognized(classes: int, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 2, (4, classes)).astype(np.float32)
    assert read_as(softmax(logits), 0) == "probabilities"
    assert read_as(rounded(softmax(logits)), 1 / 256) == "probabilities"
    assert read_as(logits, 0) == "logits"


def test_one_row_outside_makes_them_logits_and_rows_inside_are_refused() -> None:
    assert read_as(np.array([[0.4, 0.6], [0.4, 1.2]], np.float32), 0) == "logits"
    assert read_as(np.array([[0.4, 0.6], [-0.1, 0.3]], np.float32), 0) == "logits"
    with pytest.raises(ValueError, match="between 0 and 1, but their sum is not 1"):
        read_as(np.array([[0.4, 0.6], [0.4, 0.3]], np.float32), 0)
