"""Label rules"""

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from earlyexit.dataset import COLUMNS
from earlyexit.raw.coco import Photograph

Rule = Literal["vww", "mlperf"]


@dataclass(frozen=True)
class _Labels:
    """Who is a person: a rule and its smallest area."""

    rule: Rule
    area: float

    @property
    def definition(self) -> str:
        if self.rule == "vww":
            return f"1 (person) if a person box covers more than {self.area:g} of the image, else 0"
        return (
            f"1 (person) if a person box covers more than {self.area:g} of the image, 0 if there is no person, "
            "else dropped; crowds are passed over"
        )

    def of(self, photograph: Photograph) -> int:
        return int(photograph.person_share > self.area)

    def drops(self, photograph: Photograph) -> bool:
        return self.rule == "mlperf" and photograph.persons > 0 and not self.of(photograph)

    def counts(self, photographs: list[Photograph]) -> dict[str, int]:
        persons = sum(map(self.of, photographs))
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
        rows = [
            (photograph.id, split, self.of(photograph), photograph.person_share)
            for split, photographs in splits.items()
            for photograph in photographs
        ]
        return pd.DataFrame(rows, columns=COLUMNS)
