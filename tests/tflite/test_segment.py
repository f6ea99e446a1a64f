import numpy as np
import pytest

from earlyexit.policy import decision
from earlyexit.policy.cascade import Cascade, Outcome
from earlyexit.tflite import arena
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.segment import Segment, all_logits
from tests.conftest import Exported


class Spy:
    """A segment that counts its runs."""

    def __init__(self, segment: Segment) -> None:
        self.segment, self.runs = segment, 0

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        self.runs += 1
        return self.segment(x)


@pytest.fixture(scope="module")
def images(exported: Exported, deployed: Deployment) -> np.ndarray:
    return deployed.quantize(exported.images)


@pytest.fixture(scope="module")
def logits(deployed: Deployment, images: np.ndarray) -> np.ndarray:
    return all_logits(deployed.segments(), images, "INT8")


def test_the_cascade_is_the_vectorised_policy(deployed: Deployment, images: np.ndarray, logits: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    margins = decision.margins(logits)
    segments = deployed.segments()
    rows = [[int(rng.choice(margins[k])) for k in range(2)] for _ in range(12)]
    seen = set()
    for limits in [*rows, [-1, -1], [255, 255], [255, -1]]:
        expected = decision.decide(logits, limits)
        cascade = Cascade(segments, limits)
        for i, image in enumerate(images):
            k = int(expected.exits[i])
            assert cascade(image) == Outcome(int(expected.labels[i]), k, int(margins[k, i]))
            seen.add(k)
    assert seen == {0, 1, 2}


@pytest.mark.parametrize(("limits", "runs"), [([-1, -1], [1, 0, 0]), ([255, -1], [1, 1, 0]), ([255, 255], [1, 1, 1])])
def test_an_exit_really_stops(deployed: Deployment, images: np.ndarray, limits: list[int], runs: list[int]) -> None:
    spies = [Spy(segment) for segment in deployed.segments()]
    outcome = Cascade(spies, limits)(images[0])  # type: ignore[arg-type]
    assert [spy.runs for spy in spies] == runs
    assert outcome.exit == sum(runs) - 1


def test_an_image_leaves_where_its_margin_is_greater_not_equal(
    deployed: Deployment, images: np.ndarray, logits: np.ndarray
) -> None:
    margin = int(decision.margins(logits)[0, 0])
    segments = deployed.segments()
    assert Cascade(segments, [margin - 1, 255])(images[0]).exit == 0
    assert Cascade(segments, [margin, 255])(images[0]).exit == 2


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_threshold_an_early_exit(deployed: Deployment, count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} thresholds for 2 early exits"):
        Cascade(deployed.segments(), [1] * count)


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
    (first, *_), x = deployed.segments(reference=True), images[:8]
    answers = arena.run(deployed.models[0], x)
    expected = {answer.ndim: answer for answer in answers}
    for i, image in enumerate(x):
        logits, features = first(image)
        assert np.array_equal(logits, expected[2][i])
        assert features is not None
        assert np.array_equal(features, expected[4][i])


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
