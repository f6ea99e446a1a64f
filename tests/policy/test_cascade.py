import numpy as np
import pytest

from earlyexit.policy import decision
from earlyexit.policy.cascade import Cascade, Outcome
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
    for number, thresholds in enumerate([*rows, [-1, -1], [255, 255], [255, -1], [255, 255]]):
        patience = (0, 0, 3, 2)[number % 4]
        expected = decision.decide(logits, thresholds, patience)
        cascade = Cascade(segments, thresholds, patience)
        for i, image in enumerate(images):
            k = int(expected.exits[i])
            assert cascade(image) == Outcome(int(expected.labels[i]), k, int(margins[k, i]))
            seen.add(k)
    assert seen == {0, 1, 2}


@pytest.mark.parametrize(
    ("thresholds", "runs"), [([-1, -1], [1, 0, 0]), ([255, -1], [1, 1, 0]), ([255, 255], [1, 1, 1])]
)
def test_an_exit_really_stops(deployed: Deployment, images: np.ndarray, thresholds: list[int], runs: list[int]) -> None:
    spies = [Spy(segment) for segment in deployed.segments()]
    outcome = Cascade(spies, thresholds)(images[0])  # type: ignore[arg-type]
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
