"""The thresholds of every percentile, as a file between calibration and use."""

from pathlib import Path
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from earlyexit import policy
from earlyexit.files import read_json


class Thresholds(BaseModel):
    """Thresholds from a calibration split.

    Attributes:
        n: images of the calibration split.
        exits: names of the early exits.
        table: percentiles that become rows of Table I.
        margins: for each percentile 0..100, the integer threshold of each exit; an image leaves where its margin is
            greater.
        probabilities: the same as softmax probabilities.
        achieved: for each percentile, the share of calibration images whose margin at each exit is greater, which ties
            make smaller than (100 - percentile) / 100.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    n: int
    exits: list[str]
    table: list[int]
    margins: list[list[int]]
    probabilities: list[list[float]]
    achieved: list[list[float]]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for field in (self.margins, self.probabilities, self.achieved):
            if len(field) != 101 or any(len(row) != len(self.exits) for row in field):
                raise ValueError("one row for each percentile 0..100, one value for each exit")
        return self

    def print_summary(self) -> None:
        """Print requested and achieved exit rates of the table's percentiles."""
        for percentile in self.table:
            shares = ", ".join(
                f"{name} {share:.1%}" for name, share in zip(self.exits, self.achieved[percentile], strict=True)
            )
            print(
                f"p{percentile}: {100 - percentile} % requested of each exit, {shares} on {self.n} calibration images"
            )


def calibrate(margins: np.ndarray, table: list[int], names: list[str], scales: list[float]) -> Thresholds:
    """Return the thresholds of percentiles 0 to 100.

    Args:
        margins: integer margins of every classifier, (classifiers, N), the final one's last.
        table: percentiles of Table I.
        names, scales: of the classifiers and of their INT8 logits.
    """
    early = margins[:-1]
    limits = [policy.thresholds(early, percentile) for percentile in range(101)]
    steps = np.array(limits)
    return Thresholds(
        n=margins.shape[1],
        exits=names[:-1],
        table=table,
        margins=limits,
        probabilities=policy.confidence(steps, np.array(scales[:-1])).tolist(),
        achieved=[(early > row[:, None]).mean(1).tolist() for row in steps],
    )


def load(path: Path | str) -> Thresholds:
    """Read a file of thresholds.

    Raises:
        FileNotFoundError, ValueError: naming the file and what is wrong with it.
    """
    try:
        return Thresholds.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        field = "".join(f"{part}: " for part in first["loc"])
        raise ValueError(f"{path}: not a file of thresholds: {field}{first['msg']}") from error
