"""The normalization of pixels into a network's input."""

from typing import TYPE_CHECKING, Annotated, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from torch import Tensor

Offset = Annotated[float, Field(ge=0, le=255)]
Divisor = Annotated[float, Field(gt=0, le=255)]
Pixels = TypeVar("Pixels", np.ndarray, "Tensor")


class Normalization(BaseModel):
    """The input of a network: (pixel - offset) / divisor."""

    model_config = ConfigDict(frozen=True)

    offset: Offset
    divisor: Divisor

    def __call__(self, pixels: Pixels) -> Pixels:
        """Return the input for float pixels of any shape."""
        return (pixels - self.offset) / self.divisor

    def images(self, images: np.ndarray) -> np.ndarray:
        """Return the float32 input for uint8 images of any shape."""
        return self(images.astype(np.float32))

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest value of the input."""
        low, high = self.images(np.array([0, 255], np.uint8))
        return float(low), float(high)
