"""The rules that give a photograph its label."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from earlyexit.dataset import COLUMNS
from earlyexit.raw.coco import Measure, Photograph

Rule = Literal["vww", "vww_box", "mlperf"]


@dataclass(frozen=True)
class LabelRule:
    """A rule for the label of a photograph: 1 (person) or 0 (no person).

    Attributes:
        rule: vww: label 1 where the `area` of some person, crowds too, is at least a share of the image. The script
            that built the data set decides so (research/slim/datasets/build_visualwakewords_data_lib.py of TensorFlow's
            models).
            vww_box: label 1 where some person's box, crowds too, covers more than that share. The text of the data
            set's paper says so (Chowdhery et al. 2019).
            mlperf: as vww_box without crowds, and images with persons, all of them smaller, are dropped. MLPerf Tiny's
            buildPersonDetectionDatabase.py does so.
        area: the share of the image.
    """

    rule: Rule
    area: float

    @property
    def measure(self) -> Measure:
        """What of a person is measured."""
        return "area" if self.rule == "vww" else "box"

    @property
    def crowds(self) -> bool:
        """Whether crowds count as persons."""
        return self.rule != "mlperf"

    @property
    def definition(self) -> str:
        """The rule in words, for reports."""
        if self.rule == "vww":
            return f"1 (person) if the area of a person is at least {self.area:g} of the image, else 0"
        if self.rule == "vww_box":
            return f"1 (person) if a person box covers more than {self.area:g} of the image, else 0"
        return (
            f"1 (person) if a person box covers more than {self.area:g} of the image, 0 if there is no person, "
            "else dropped; crowds are passed over"
        )

    def share(self, photograph: Photograph) -> float:
        """Return the share of the image that its largest person covers, as the rule measures it."""
        return photograph.area_share if self.measure == "area" else photograph.box_share

    def label(self, photograph: Photograph) -> int:
        """Return the label of a photograph."""
        share = self.share(photograph)
        return int(share >= self.area if self.rule == "vww" else share > self.area)

    def drops(self, photograph: Photograph) -> bool:
        """Return whether the rule drops a photograph."""
        return self.rule == "mlperf" and photograph.persons > 0 and not self.label(photograph)

    def counts(self, photographs: list[Photograph]) -> dict[str, int]:
        """Return how many photographs there are, and how many of each label."""
        persons = sum(map(self.label, photographs))
        return {"images": len(photographs), "no_person": len(photographs) - persons, "person": persons}

    def check(self, splits: dict[str, list[Photograph]]) -> None:
        """Raise ValueError where a split lacks a class."""
        for split, photographs in splits.items():
            counts = self.counts(photographs)
            if not (counts["person"] and counts["no_person"]):
                raise ValueError(
                    f"the {split} split needs images with and without a person; of its {counts['images']} images "
                    f"{counts['person']} have a person of min_person_area = {self.area:g}"
                )

    def index(self, splits: dict[str, list[Photograph]]) -> pd.DataFrame:
        """Return the table that becomes index.csv."""
        rows = [
            (photograph.id, split, self.label(photograph), self.share(photograph))
            for split, photographs in splits.items()
            for photograph in photographs
        ]
        return pd.DataFrame(rows, columns=COLUMNS)


def differing(photographs: Sequence[Photograph], one: LabelRule, other: LabelRule) -> dict[str, int]:
    """Return on how many photographs two rules can both be asked, and on how many of these their labels differ."""
    asked = [p for p in photographs if not (math.isnan(one.share(p)) or math.isnan(other.share(p)))]
    return {"images": len(asked), "differ": sum(one.label(p) != other.label(p) for p in asked)}
