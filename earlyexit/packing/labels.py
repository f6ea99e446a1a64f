"""The rules that give a photograph its label."""

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from earlyexit.dataset import COLUMNS
from earlyexit.raw.coco import Photograph

Rule = Literal["vww", "mlperf"]


@dataclass(frozen=True)
class LabelRule:
    """A rule for the label of a photograph: 1 (person) or 0 (no person).

    Attributes:
        rule: with vww the label is 1 where the largest person box covers more than `area`, else 0. mlperf does the
            same, but drops images with persons, all of them smaller.
        area: the share of the image that a person's box must cover.
    """

    rule: Rule
    area: float

    @property
    def definition(self) -> str:
        """The rule in words, for reports."""
        if self.rule == "vww":
            return f"1 (person) if a person box covers more than {self.area:g} of the image, else 0"
        return (
            f"1 (person) if a person box covers more than {self.area:g} of the image, 0 if there is no person, "
            "else dropped; crowds are passed over"
        )

    def label(self, photograph: Photograph) -> int:
        """Return the label of a photograph."""
        return int(photograph.person_share > self.area)

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
                    f"{counts['person']} have a person box above min_person_area = {self.area:g}"
                )

    def index(self, splits: dict[str, list[Photograph]]) -> pd.DataFrame:
        """Return the table that becomes index.csv."""
        rows = [
            (photograph.id, split, self.label(photograph), photograph.person_share)
            for split, photographs in splits.items()
            for photograph in photographs
        ]
        return pd.DataFrame(rows, columns=COLUMNS)
