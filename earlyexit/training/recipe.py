"""The settings of each training, as sections of params.yaml. Imports no torch: every stage reads params.yaml."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from earlyexit.model.architecture import ForEachExit, Strict, for_each

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
NonNegative = Annotated[float, Field(ge=0, le=1e6)]
Epochs = Annotated[int, Field(ge=0, le=100_000)]
Images = Annotated[int, Field(le=1_000_000)]
FilePath = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")]
Precision = Literal["float32", "bfloat16", "float16"]


class AugmentRecipe(Strict):
    """Random changes of the training images.

    Attributes:
        min_crop: smallest share of the area that a crop keeps; 1 turns cropping off.
        flip: probability that an image is mirrored.
        brightness, contrast: largest relative change.
    """

    min_crop: Annotated[float, Field(gt=0, le=1)]
    flip: Share
    brightness: Annotated[float, Field(ge=0, lt=1)]
    contrast: Annotated[float, Field(ge=0, lt=1)]


class Recipe(Strict):
    """AdamW under a one-cycle schedule; 0 epochs leave the network as it is.

    The weights of the end are kept, so nothing is chosen on held-out images.

    Attributes:
        average: decay of the moving average of the weights that is kept; 0: the last step's weights are.
    """

    epochs: Epochs
    batch_size: Annotated[Images, Field(ge=2)]
    learning_rate: Positive
    weight_decay: NonNegative
    average: Annotated[float, Field(ge=0, lt=1)]


class DistilledRecipe(Recipe):
    """A training by labels and teachers (Hinton et al. 2015).

    The teachers are the network's own final classifier, as it was before, and a bigger network, where one is given.

    Attributes:
        distill: share of the loss that follows teachers instead of the labels; 0: there are none.
        temperature: both sides' logits are divided by it.
    """

    distill: Share
    temperature: Positive


class BaselineRecipe(DistilledRecipe):
    """Training of the network without early exits, from random weights or from a file. It has no teacher of its own.

    Attributes:
        pretrained: safetensors file to start from, or None.
        small_epochs: how many of the first epochs see images at two thirds of the resolution (progressive resizing).
            Most is learned there, in less than half the time.
    """

    pretrained: FilePath | None
    small_epochs: Epochs

    @model_validator(mode="after")
    def _some_at_full_size(self) -> Self:
        if self.small_epochs >= self.epochs > 0:
            raise ValueError(f"small_epochs: {self.small_epochs} must be less than epochs ({self.epochs})")
        if self.epochs == 0 and self.pretrained is None:
            raise ValueError("epochs: 0 leaves random weights; give baseline.pretrained, a safetensors file")
        return self


class DisjointRecipe(DistilledRecipe):
    """Stage A (Section II-A): exits on a frozen backbone.

    Attributes:
        augment: whether the images are augmented; if not, the frozen features can be computed once.
    """

    augment: bool


class JointRecipe(DistilledRecipe):
    """Stage B (Section II-A): backbone and exits together.

    Attributes:
        freeze_norm: whether batch norm of the backbone keeps its statistics; for little data, or a folded file.
        w_exits, w_final: weights of the classifiers' losses (Eq. 1); one value for all exits, or one for each.
    """

    freeze_norm: bool
    w_exits: ForEachExit[NonNegative]
    w_final: NonNegative

    @model_validator(mode="after")
    def _some_weight(self) -> Self:
        if self.w_final == 0 and not any(for_each(self.w_exits, 1)):
            raise ValueError("w_final and w_exits are all 0: nothing would be trained")
        return self

    def loss_weights(self, exits: int) -> list[float]:
        """Return the weights of Eq. 1: of each exit and of the final classifier, or 1 for a network without exits."""
        return [*for_each(self.w_exits, exits), self.w_final] if exits else [1.0]


class QatRecipe(DistilledRecipe):
    """Quantization-aware training; 0 epochs leave the network to post-training quantization.

    Attributes:
        rounding: whether the network rounds in training; False: the same training in float, to compare with.
        freeze_ranges: share of the steps after which the ranges of activations stay.
    """

    rounding: bool
    freeze_ranges: Annotated[float, Field(gt=0, le=1)]
