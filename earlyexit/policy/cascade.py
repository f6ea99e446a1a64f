"""Segments run one after the other until an exit is sure enough."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from earlyexit.tflite.segment import Segment


@dataclass(frozen=True)
class Outcome:
    """What a cascade says of one image: the class, the exit taken (from 0), that exit's integer margin."""

    label: int
    exit: int
    margin: int


class Cascade:
    """Segments run one after the other; an early exit really stops: the next segment is not run.

    Args:
        segments: in order, the final classifier's last.
        thresholds: integer margins, one an early exit; an image leaves where its margin is greater.
    """

    def __init__(self, segments: Sequence[Segment], thresholds: Sequence[int]) -> None:
        if len(thresholds) != len(segments) - 1:
            raise ValueError(f"{len(thresholds)} thresholds for {len(segments) - 1} early exits")
        self.segments = segments
        self.thresholds = [*thresholds, -1]

    def __call__(self, image: np.ndarray) -> Outcome:
        """Classify one INT8 image (H, W, 3)."""
        x: np.ndarray | None = image
        for index, (segment, threshold) in enumerate(zip(self.segments, self.thresholds, strict=True)):
            assert x is not None
            logits, x = segment(x)
            margin = int(logits[1]) - int(logits[0])
            if abs(margin) > threshold:
                return Outcome(int(margin > 0), index, abs(margin))
        raise AssertionError("the last threshold lets everything pass")
