import numpy as np
import pytest

from earlyexit.evaluation import latency
from earlyexit.policy import decision
from earlyexit.policy.cascade import Cascade, Outcome
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.segment import all_logits
from tests.conftest import Exported

THRESHOLDS = [[-1, -1], [60, 40], [255, 255]]


def test_measures_and_decides(deployed: Deployment, exported: Exported) -> None:
    images = deployed.quantize(exported.images[:30])
    segments = deployed.segments()
    cascades = [Cascade(segments, thresholds) for thresholds in THRESHOLDS]
    found = latency.measure(deployed.segments()[0], segments, cascades, images, passes=3)
    assert len(found.segments) == 3
    assert len(found.cascades) == 3
    assert all(0 < time < 1e5 for time in [found.baseline, *found.segments, *found.cascades])
    assert found.spread >= 0
    for cascade, thresholds, outcomes in zip(cascades, THRESHOLDS, found.outcomes, strict=True):
        assert outcomes == [cascade(image) for image in images]
        decisions = decision.decide(all_logits(segments, images, "INT8"), thresholds)
        latency.check_outcomes(outcomes, decisions.exits, decisions.labels, "p50")


class Clock:
    """A clock by which the n-th measurement takes `microseconds[n]`."""

    def __init__(self, microseconds: list[int]) -> None:
        self.steps = iter([step * 1000 for time in microseconds for step in (0, time)])
        self.now = 0

    def __call__(self) -> int:
        self.now += next(self.steps)
        return self.now


def test_figures_are_medians_over_passes_of_means_over_images(
    deployed: Deployment, exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = deployed.quantize(exported.images[:2])
    warm_up = [99] * 2 * 3
    # Baseline, three segments, one cascade; the second image takes twice as long as the first.
    passes = [[factor * time for factor in (slow, 2 * slow) for time in (10, 1, 2, 3, 20)] for slow in (50, 2, 4)]
    monkeypatch.setattr(latency, "perf_counter_ns", Clock([*warm_up, *passes[0], *passes[1], *passes[2]]))
    cascade = Cascade(deployed.segments(), [255, 255])
    found = latency.measure(deployed.segments()[0], cascade.segments, [cascade], images, passes=3)
    assert found.baseline == pytest.approx(6 * 10)
    assert found.segments == pytest.approx([6 * 1, 6 * 2, 6 * 3])
    assert found.cascades == pytest.approx([6 * 20])
    assert found.spread == pytest.approx((75 - 3) / 6)


def test_a_differing_decision_is_named() -> None:
    outcomes = [Outcome(1, 0, 9), Outcome(0, 2, 3)]
    latency.check_outcomes(outcomes, np.array([0, 2]), np.array([1, 0]), "p75")
    for exits, labels in (([0, 1], [1, 0]), ([0, 2], [1, 1])):
        message = rf"p75: image 1 of val leaves at exit 3 with label 0 .* at exit {exits[1] + 1} with label {labels[1]}"
        with pytest.raises(ValueError, match=message):
            latency.check_outcomes(outcomes, np.array(exits), np.array(labels), "p75")


def test_fewer_decisions_than_images_are_refused() -> None:
    with pytest.raises(ValueError, match="p50: 1 images in the cascade, 2 in the evaluation"):
        latency.check_outcomes([Outcome(1, 0, 9)], np.array([0, 0]), np.array([1, 1]), "p50")


def test_a_time_comes_with_its_machine() -> None:
    found = latency.machine()
    assert {"processor", "system", "python", "ai-edge-litert", "kernels"} <= found.keys()
    assert all(isinstance(value, str) and value for value in found.values())
