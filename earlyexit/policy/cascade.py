"""Run segments one after the other until an exit is confident enough."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from earlyexit.tflite.segment import Segment, run_in_turn


@dataclass(frozen=True)
class Outcome:
    """The answer of a cascade to one image: the class, the number of the exit from 0, the integer margin there."""

    label: int
    exit: int
    margin: int


class Cascade:
    """Segments that run one after the other; after an early exit the next segment does not run.

    Args:
        segments: in order; the last one ends in the final classifier.
        thresholds, patience: the exit policy, as `decision.decide` takes it.

    Raises:
        ValueError: not one threshold for each early exit.
    """

    def __init__(self, segments: Sequence[Segment], thresholds: Sequence[int], patience: int = 0) -> None:
        if len(thresholds) != len(segments) - 1:
            raise ValueError(f"{len(thresholds)} thresholds for {len(segments) - 1} early exits")
        self.segments = segments
        self.thresholds = [*thresholds, -1]
        self.patience = patience or len(segments) + 1

    def __call__(self, image: np.ndarray) -> Outcome:
        """Classify one INT8 image (H, W, 3)."""
        answers = zip(run_in_turn(self.segments, image), self.thresholds, strict=True)
        label, agreeing = -1, 0
        for index, (logits, threshold) in enumerate(answers):
            margin = int(logits[1]) - int(logits[0])
            agreeing = agreeing + 1 if int(margin > 0) == label else 1
            label = int(margin > 0)
            if abs(margin) > threshold or agreeing >= self.patience:
                return Outcome(label, index, abs(margin))
        raise AssertionError("every margin is greater than the last threshold")
