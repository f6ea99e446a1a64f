"""params.yaml as typed objects that refuse unknown, missing or mistyped keys."""

import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from earlyexit.model.architecture import Architecture, BackboneTable, Channels, MobileNetV1Table, MobileNetV2Table


def _ascending(values: list[int]) -> list[int]:
    if sorted(set(values)) != values:
        raise ValueError(f"{values} must ascend, each once, e.g. [50, 75, 95]")
    return values


# ruamel.yaml passes on what Python says of a date, a number or a bool that is none, and of too deep a nesting.
_NO_YAML = (YAMLError, ValueError, KeyError, TypeError, RecursionError)
_Short = reprlib.Repr()
_Short.maxstring = _Short.maxother = _Short.maxlong = 200

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
NonNegative = Annotated[float, Field(ge=0, le=1e6)]
Epochs = Annotated[int, Field(ge=0, le=100_000)]
Images = Annotated[int, Field(le=1_000_000)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Percentile = Annotated[int, Field(ge=0, le=100)]
FilePath = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")]
Url = Annotated[str, Field(max_length=2048, pattern=r"^https?://[^\s/]+\S*$")]


class Section(BaseModel):
    """A group of params: strict types, no unknown keys, no missing ones."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PersonArea(Section):
    """The share of the image that a person box must cover, by label rule."""

    vww: Annotated[Share, Field(lt=1)]
    mlperf: Annotated[Share, Field(lt=1)]


class DataParams(Section):
    """Where the photographs come from and how they become labelled arrays."""

    source: FilePath
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    train_images: Annotated[int, Field(ge=16, le=1_000_000, multiple_of=2)]
    val_images: Annotated[int, Field(ge=4, le=1_000_000, multiple_of=2)]
    coco_url: Url
    minival_url: Url
    mlperf_tiny_url: Url
    checksums: FilePath
    val_share: Annotated[float, Field(gt=0, le=0.5)]
    label_rule: Literal["vww", "mlperf"]
    min_person_area: PersonArea
    resolution: Annotated[int, Field(ge=32, le=1024, multiple_of=8)]
    calibration_share: Annotated[float, Field(gt=0, le=0.5)]
    max_skipped: Share


class ModelParams(Section):
    """The backbone: the name of one of the tables, and the tables."""

    backbone: Literal["mobilenet_v2", "mobilenet_v1"]
    mobilenet_v2: MobileNetV2Table
    mobilenet_v1: MobileNetV1Table

    def table(self) -> BackboneTable:
        """Return the table that `backbone` names."""
        return self.mobilenet_v2 if self.backbone == "mobilenet_v2" else self.mobilenet_v1


class ExitParams(Section):
    """Where the early exits sit, for either backbone, and what their heads look like."""

    head: Literal["separable", "pooled"]
    channels: Annotated[list[Channels], Field(min_length=1)]
    mobilenet_v2: Annotated[list[str], Field(min_length=1)]
    mobilenet_v1: Annotated[list[str], Field(min_length=1)]


class AugmentParams(Section):
    """Augmentation of the training images."""

    min_crop: Annotated[float, Field(gt=0, le=1)]
    flip: Share
    brightness: Annotated[float, Field(ge=0, lt=1)]
    contrast: Annotated[float, Field(ge=0, lt=1)]


class TrainParams(Section):
    """What every training stage shares."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
    threads: Annotated[int, Field(ge=1, le=1024)]
    processes: Annotated[int, Field(ge=1, le=1024)]
    precision: Literal["float32", "bfloat16", "float16"]


class Recipe(Section):
    """One training run: AdamW under a one-cycle schedule; 0 epochs leave the network as it is."""

    epochs: Epochs
    batch_size: Annotated[Images, Field(ge=2)]
    learning_rate: Positive
    weight_decay: NonNegative


class BaselineParams(Recipe):
    """Training of the network without early exits, from random weights or from a file."""

    pretrained: FilePath | None
    small_epochs: Epochs

    @model_validator(mode="after")
    def _some_at_full_size(self) -> Self:
        if self.small_epochs >= self.epochs > 0:
            raise ValueError(f"small_epochs: {self.small_epochs} must be less than epochs ({self.epochs})")
        if self.epochs == 0 and self.pretrained is None:
            raise ValueError("epochs: 0 leaves random weights; give baseline.pretrained, a safetensors file")
        return self


class DistilledRecipe(Recipe):
    """A training run that may learn from the final classifier as it was before."""

    distill: Share
    temperature: Positive


class DisjointParams(DistilledRecipe):
    """Stage A (Section II-A): exits on a frozen backbone."""

    augment: bool


class JointParams(DistilledRecipe):
    """Stage B (Section II-A), with the weights of Eq. 1."""

    freeze_norm: bool
    w_exits: Annotated[list[NonNegative], Field(min_length=1)]
    w_final: NonNegative

    @model_validator(mode="after")
    def _some_weight(self) -> Self:
        if self.w_final == 0 and not any(self.w_exits):
            raise ValueError("w_final and w_exits are all 0: nothing would be trained")
        return self


class ExportParams(Section):
    """Parity check of the exported network."""

    images: Annotated[Images, Field(ge=1)]
    tolerance: Positive


class PtqParams(Section):
    """INT8 post-training quantization (Section II-B)."""

    quantizer: Literal["litert", "tensorflow"]
    images: Annotated[Images, Field(ge=2, multiple_of=2)]


class CalibrateParams(Section):
    """Percentiles of confidence that become rows of Table I."""

    percentiles: Annotated[list[Percentile], Field(min_length=1), AfterValidator(_ascending)]


class BenchmarkParams(Section):
    """Latency measurement."""

    passes: Annotated[int, Field(ge=1, le=10_000)]


class FirmwareParams(Section):
    """The C library."""

    percentile: Percentile


class EmulateParams(Section):
    """Runs on the emulated Cortex-M4."""

    images: Annotated[Images, Field(ge=1)]
    refill: Annotated[int, Field(ge=1, le=3)]
    clock_mhz: Annotated[int, Field(ge=1, le=1000)]


class Limit(Section):
    """Bytes that a device has for each backbone."""

    mobilenet_v2: Count
    mobilenet_v1: Count


class MemoryParams(Section):
    """The budget of the device."""

    flash_limit: Limit
    sram_limit: Limit


class Params(Section):
    """All of params.yaml."""

    data: DataParams
    model: ModelParams
    exits: ExitParams
    augment: AugmentParams
    train: TrainParams
    baseline: BaselineParams
    disjoint: DisjointParams
    joint: JointParams
    export: ExportParams
    ptq: PtqParams
    calibrate: CalibrateParams
    benchmark: BenchmarkParams
    memory: MemoryParams
    firmware: FirmwareParams
    emulate: EmulateParams

    def baseline_architecture(self) -> Architecture:
        """Return the network without early exits."""
        return Architecture(backbone=self.model.table(), resolution=self.data.resolution)

    def architecture(self) -> Architecture:
        """Return the network with its early exits."""
        exits = self.exits
        return Architecture(
            backbone=self.model.table(),
            resolution=self.data.resolution,
            exits=exits.mobilenet_v2 if self.model.backbone == "mobilenet_v2" else exits.mobilenet_v1,
            head=exits.head,
            head_channels=exits.channels,
        )

    def budget(self) -> tuple[int, int]:
        """Return the bytes of flash and of SRAM that the network may take."""
        memory, name = self.memory, self.model.backbone
        return getattr(memory.flash_limit, name), getattr(memory.sram_limit, name)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        architecture = self.architecture()
        if len(self.joint.w_exits) != len(architecture.exits):
            raise ValueError(
                f"joint.w_exits: {len(self.joint.w_exits)} weights for the {len(architecture.exits)} exits of "
                f"exits.{self.model.backbone}; give one weight an exit"
            )
        return self


def load(path: Path | str = "params.yaml") -> Params:
    """Read and check params.yaml (YAML 1.2, as `dvc exp run -S` writes it).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: one line an error, each naming the leaf, the value and what is wrong with it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not found; run from the folder that holds params.yaml")
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except _NO_YAML as error:
        raise ValueError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise ValueError("\n".join(f"{path}: {_describe(item)}" for item in error.errors())) from None


def overridden(params: Params, overrides: Sequence[str]) -> Params:
    """Return `params` with each override, "dotted.name=YAML value", in its place.

    Raises:
        ValueError: one line an error, each naming the leaf and what is wrong with it.
    """
    content = params.model_dump()
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            raise ValueError(f"{override}: no value; write name=value, e.g. data.resolution=88")
        try:
            value = YAML(typ="safe", pure=True).load(text)
        except _NO_YAML as error:
            raise ValueError(f"{name}: not valid YAML: {' '.join(str(error).split())}") from None
        _replace(content, name, value)
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise ValueError("\n".join(_describe(item) for item in error.errors())) from None


def _replace(content: dict[str, Any], name: str, value: Any) -> None:
    *path, leaf = name.split(".")
    section: Any = content
    for key in path:
        section = section.get(key) if isinstance(section, dict) else None
    if not isinstance(section, dict) or leaf not in section:
        raise ValueError(f"{name}: unknown; check the spelling")
    section[leaf] = value


def _describe(item: Any) -> str:
    leaf = ".".join(str(part) for part in item["loc"])
    leaf = leaf if leaf.isprintable() and len(leaf) <= 200 else _Short.repr(leaf)
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "model_type":
        return f"{leaf or 'the whole file'}: must be a section of params (got {_Short.repr(item['input'])})"
    if item["type"] == "missing":
        return f"{leaf}: missing"
    if item["type"] == "extra_forbidden":
        return f"{leaf}: unknown; check the spelling"
    if item["type"] == "value_error":
        return f"{leaf}: {message}" if leaf else message
    return f"{leaf}: {message} (got {_Short.repr(item['input'])})"
