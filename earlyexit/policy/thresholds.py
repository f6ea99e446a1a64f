"""The thresholds of every percentile, and the file that holds them."""

from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from earlyexit.common.files import read_json
from earlyexit.policy.decision import confidence, percentiles
from earlyexit.task import CLASSES

Scope = Literal["exit", "pooled", "final"]
"""Whose confidences a percentile is taken of: the exit's own, those of all early exits, the final classifier's."""

_REQUESTED: dict[Scope, str] = {
    "exit": "of each exit",
    "pooled": "of all exits' confidences",
    "final": "of the final classifier's confidences",
}
_MARGINS = np.arange(256)

Percentile = Annotated[int, Field(ge=0, le=100)]
Name = Annotated[str, Field(pattern=r"^exit\d{1,3}$")]
Margin = Annotated[int, Field(ge=0, le=255)]
Probability = Annotated[float, Field(ge=0.5, le=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class Thresholds(BaseModel):
    """Thresholds from a calibration split.

    Attributes:
        n: images of the calibration split.
        exits: names of the early exits.
        table: percentiles that become rows of Table I.
        margins: for each percentile 0..100, the integer threshold of each exit; an image leaves if its margin is
            greater.
        probabilities: the same thresholds as softmax probabilities.
        achieved: for each percentile, the share of calibration images whose margin at each exit is greater; ties make
            it smaller than (100 - percentile) / 100.
        warnings: a line for each fault of a classifier or of a threshold in the table; normally none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    n: Annotated[int, Field(ge=1)]
    exits: list[Name]
    table: list[Percentile]
    margins: list[list[Margin]]
    probabilities: list[list[Probability]]
    achieved: list[list[Share]]
    warnings: list[str] = []

    @model_validator(mode="after")
    def _check_rows(self) -> Self:
        for field in (self.margins, self.probabilities, self.achieved):
            if len(field) != 101 or any(len(row) != len(self.exits) for row in field):
                raise ValueError("one row for each percentile 0..100, one value for each exit")
        return self

    def print_summary(self, scope: Scope = "exit") -> None:
        """Print requested and achieved exit rates of the table's percentiles, and the warnings."""
        for percentile in self.table:
            shares = ", ".join(
                f"{name} {share:.1%}" for name, share in zip(self.exits, self.achieved[percentile], strict=True)
            )
            print(
                f"p{percentile}: {100 - percentile} % requested {_REQUESTED[scope]}, {shares} on {self.n} calibration "
                "images"
            )
        for warning in self.warnings:
            print(f"warning: {warning}")


def calibrate(
    margins: np.ndarray,
    table: list[int],
    names: list[str],
    scales: list[float],
    answers: np.ndarray | None = None,
    scope: Scope = "exit",
) -> Thresholds:
    """Return the thresholds of percentiles 0 to 100.

    Args:
        margins: integer margins of every classifier, (classifiers, N), the final one's last.
        table: percentiles of Table I.
        names, scales: of the classifiers and of their INT8 logits.
        answers: class that each classifier gives each image, (classifiers, N); if given, a classifier with the same
            answer for all images causes a warning.
        scope: whose confidences the percentiles are taken of.

    Raises:
        ValueError: a scale is not positive and finite, so the margins have no meaning.
    """
    for name, scale in zip(names, scales, strict=True):
        if not (np.isfinite(scale) and scale > 0):
            raise ValueError(f"{name}: its logits have scale {scale}, expected a positive number; rerun the ptq stage")
    early = margins[:-1]
    # Exits differ in scale, so margins are compared as real numbers. 8 bits times a 32-bit float is exact in 64 bits.
    levels = _MARGINS * np.array(scales)[:, None]
    real = np.take_along_axis(levels, margins, axis=1)
    thresholds = [
        integer_thresholds(levels[:-1], confidence_thresholds(real, percentile, scope)) for percentile in range(101)
    ]
    steps = np.array(thresholds)
    return Thresholds(
        n=margins.shape[1],
        exits=names[:-1],
        table=table,
        margins=thresholds,
        probabilities=confidence(steps, np.array(scales[:-1])).tolist(),
        achieved=[(early > row[:, None]).mean(1).tolist() for row in steps],
        warnings=_warnings(margins, thresholds, table, names, answers),
    )


def confidence_thresholds(confidences: np.ndarray, percentile: float, scope: Scope) -> np.ndarray:
    """Return the confidence that an image must exceed at each early exit.

    Args:
        confidences: of every classifier, (classifiers, N), the final one's last; of one unit unless `scope` is exit.
        percentile: 0 to 100.
        scope: whose confidences the percentile is taken of.

    Raises:
        ValueError: no images, or a percentile outside 0..100.
    """
    early = confidences[:-1]
    if scope == "exit":
        return percentiles(early, percentile)
    common = early.reshape(1, -1) if scope == "pooled" else confidences[-1:]
    return np.repeat(percentiles(common, percentile), len(early))


def integer_thresholds(levels: np.ndarray, thresholds: np.ndarray) -> list[int]:
    """Return the integer margin that an image must exceed to exceed a confidence.

    Args:
        levels: confidence of the margins 0 to 255 at each early exit, ascending, (exits, 256).
        thresholds: confidence that an image must exceed at each early exit, (exits,).

    Returns:
        for each exit the largest margin whose confidence is not greater, -1 if there is none.
    """
    return [int(np.searchsorted(row, limit, "right")) - 1 for row, limit in zip(levels, thresholds, strict=True)]


def check_classes(labels: np.ndarray) -> None:
    """Check that a calibration split holds images of both classes: the confidence of an exit depends on the class.

    Raises:
        ValueError: one class is missing; names it.
    """
    for label, name in enumerate(CLASSES):
        if not (labels == label).any():
            raise ValueError(
                f"none of the {len(labels)} images of the calibration split has label {label} ({name}): thresholds "
                "from one class do not fit both; use more photographs or raise data.calibration_share"
            )


def load_thresholds(path: Path | str) -> Thresholds:
    """Read a file of thresholds.

    Raises:
        FileNotFoundError, ValueError: the file is missing or not valid; names the file and the fault.
    """
    try:
        return Thresholds.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        field = "".join(f"{part}: " for part in first["loc"])
        raise ValueError(f"{path}: not a file of thresholds: {field}{first['msg']}") from error


def _warnings(
    margins: np.ndarray, thresholds: list[list[int]], table: list[int], names: list[str], answers: np.ndarray | None
) -> list[str]:
    n, found = margins.shape[1], []
    dead = (margins == margins[:, :1]).all(1)
    for index, name in enumerate(names):
        if dead[index]:
            effect = "it decides all the rest alike" if index == len(names) - 1 else "no image ever leaves there"
            found.append(
                f"{name} is dead: all {n} calibration images have margin {margins[index, 0]}, so {effect}; train it "
                "longer or move it"
            )
        elif answers is not None and (answers[index] == answers[index, 0]).all():
            said = CLASSES[int(answers[index, 0])]
            found.append(f'{name} says "{said}" of all {n} calibration images; train it longer or move it')
    for percentile in table:
        rows = zip(names[:-1], thresholds[percentile], margins[:-1], dead[:-1], strict=True)
        for name, threshold, values, is_dead in rows:
            if percentile < 100 and not is_dead and not (values > threshold).any():
                largest = int(values.max())
                fault = f"is above the largest margin there is, {largest}"
                if threshold == largest:
                    tied = int((values == threshold).sum())
                    fault = f"is the largest margin there is, which {tied} of {n} images have"
                found.append(f"p{percentile}: no calibration image leaves at {name}: its threshold {threshold} {fault}")
    return found
