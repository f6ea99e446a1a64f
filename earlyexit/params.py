"""params.yaml as typed objects that refuse unknown, missing or mistyped keys."""

import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from earlyexit.common.pixels import Divisor, Normalization, Offset
from earlyexit.model.architecture import (
    LIST,
    ONE,
    Architecture,
    Attached,
    BackboneTable,
    Channels,
    ForEachExit,
    Head,
    MobileNetV1Table,
    MobileNetV2Table,
    Strict,
    for_each,
)
from earlyexit.quantization.recipe import Quantizer, Ranges, WeightFormat, Weights, check_available
from earlyexit.training.recipe import (
    AugmentRecipe,
    BaselineRecipe,
    DisjointRecipe,
    FilePath,
    Images,
    JointRecipe,
    Positive,
    Precision,
    QatRecipe,
    Share,
)

Number = TypeVar("Number", int, float)


def _ascending(values: list[Number]) -> list[Number]:
    if sorted(set(values)) != values:
        raise ValueError(f"{values} must ascend, each value once")
    return values


def _each_once(values: list[str]) -> list[str]:
    if len(set(values)) != len(values):
        raise ValueError(f"{values}: each value once")
    return values


# For an invalid date, number or bool, and for too deep a nesting, ruamel.yaml raises Python's own errors.
_INVALID_YAML = (YAMLError, ValueError, KeyError, TypeError, RecursionError)
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 200

Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Percentile = Annotated[int, Field(ge=0, le=100)]
Url = Annotated[str, Field(max_length=2048, pattern=r"^https?://[^\s/]+\S*$")]


class PersonArea(Strict):
    """The share of the image that a person must cover, by label rule."""

    vww: Annotated[Share, Field(lt=1)]
    vww_box: Annotated[Share, Field(lt=1)]
    mlperf: Annotated[Share, Field(lt=1)]


class DataParams(Strict):
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
    label_rule: Literal["vww", "vww_box", "mlperf"]
    min_person_area: PersonArea
    resolution: Annotated[int, Field(ge=32, le=1024, multiple_of=8)]
    calibration_share: Annotated[float, Field(gt=0, le=0.5)]
    max_skipped: Share


class ModelParams(Strict):
    """The backbone: the name of one of the tables, and the tables."""

    backbone: Literal["mobilenet_v2", "mobilenet_v1"]
    mobilenet_v2: MobileNetV2Table
    mobilenet_v1: MobileNetV1Table

    def table(self) -> BackboneTable:
        """Return the table that `backbone` names."""
        table: BackboneTable = getattr(self, self.backbone)
        return table


class ExitParams(Strict):
    """The positions of the early exits in each backbone, and the layers of their heads.

    Attributes:
        placement: whether the exits are those given here, or those that the placement stage chooses.
        head: of the given exits.
        channels: of the head's convolution; one value for all exits, or one for each.
        mobilenet_v2, mobilenet_v1: the blocks that the given exits follow.
    """

    placement: Literal["given", "searched"]
    head: Head
    channels: ForEachExit[Channels]
    mobilenet_v2: Annotated[list[str], Field(min_length=1)]
    mobilenet_v1: Annotated[list[str], Field(min_length=1)]


class PlacementParams(Strict):
    """The search for the exits: what it may choose, and what it minimizes.

    Attributes:
        heads: kinds of heads; one of them is chosen for all exits.
        most: exits, at most. Sets of more than three would not be searched exactly.
        loss: accuracy that the exits may lose on the calibration images, as a share of images.
        cost: of an image: estimated cycles of a Cortex-M4, or multiply-accumulates.
        images: of the train split, at most, that the candidates learn from.
        epochs: of their training; all else of it is Stage A's.
    """

    heads: Annotated[list[Head], Field(min_length=1), AfterValidator(_each_once)]
    most: Annotated[int, Field(ge=1, le=3)]
    loss: Annotated[float, Field(ge=0, lt=1)]
    cost: Literal["cycles", "macs"]
    images: Annotated[Images, Field(ge=2)]
    epochs: Annotated[int, Field(ge=1, le=1000)]


class TeacherParams(Strict):
    """The teacher: a network from elsewhere whose answers the trainings may follow.

    Attributes:
        model: a .tflite or .onnx file, or None where there is no teacher.
        person: the number of the output that says person, from 0.
        offset, divisor: a float model sees (pixel - offset) / divisor; a quantized one sees the bytes.
        share: of what disjoint and joint training distill, the part that follows this teacher; the rest follows the
            network's own final classifier.
    """

    model: FilePath | None
    person: Annotated[int, Field(ge=0, lt=100_000)]
    offset: Offset
    divisor: Divisor
    share: Share

    def pixels(self) -> Normalization:
        """Return the normalization of a float model's input."""
        return Normalization(offset=self.offset, divisor=self.divisor)


class TrainParams(Strict):
    """Seed, device, threads, processes and precision of all training stages."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
    threads: Annotated[int, Field(ge=1, le=1024)]
    processes: Annotated[int, Field(ge=1, le=1024)]
    precision: Precision


class PruneParams(Strict):
    """Channels that are removed: from the baseline before exits are attached, from the early-exit network at the end.

    Attributes:
        exact: whether channels go that have one value for every image.
        multiple: of which each width that shrinks stays a multiple.
        target: share of the baseline's cost to keep, or None: no other channels go.
        cost: of an image: estimated cycles of a Cortex-M4, or multiply-accumulates.
        importance: of a channel: taylor (the loss without it, to first order), or scale (of its batch norm).
        steps: in which the channels go, each followed by training.
        epochs, learning_rate: of each of these trainings; all else of it is the baseline's.
    """

    exact: bool
    multiple: Annotated[int, Field(ge=1, le=64)]
    target: Annotated[float, Field(gt=0, lt=1)] | None
    cost: Literal["cycles", "macs"]
    importance: Literal["taylor", "scale"]
    steps: Annotated[int, Field(ge=1, le=100)]
    epochs: Annotated[int, Field(ge=1, le=100_000)]
    learning_rate: Annotated[float, Field(gt=0, le=1e6)]

    def recipe(self, baseline: BaselineRecipe) -> BaselineRecipe:
        """Return how the network is trained after each step."""
        changes = {"epochs": self.epochs, "small_epochs": 0, "learning_rate": self.learning_rate, "pretrained": None}
        return baseline.model_copy(update=changes)


class ExportParams(Strict):
    """Parity check of the exported network."""

    images: Annotated[Images, Field(ge=1)]
    tolerance: Positive


class PtqParams(Strict):
    """Quantization (Section II-B).

    Attributes:
        quantizer, weights, bits, ranges: as `quantization.quantize` takes them.
        images: of the calibration split.
    """

    quantizer: Quantizer
    weights: Weights
    bits: Annotated[int, Field(ge=4, le=8, multiple_of=4)]
    ranges: Ranges
    images: Annotated[Images, Field(ge=2, multiple_of=2)]


class CalibrateParams(Strict):
    """Thresholds of the exits.

    Attributes:
        scope: whose confidences a percentile is taken of, see `policy.thresholds.Scope`.
        percentiles: of confidence, one for each row of Table I.
    """

    scope: Literal["exit", "pooled", "final"]
    percentiles: Annotated[list[Percentile], Field(min_length=1), AfterValidator(_ascending)]


class PolicyParams(Strict):
    """Exit policies: what they may lose, what is promised, and what an image costs.

    Attributes:
        cost: what the search minimizes: estimated cycles of a Cortex-M4, multiply-accumulates, or time on this machine.
        loss: accuracies that the searched policies may lose on the calibration images, as shares of images.
        risk, delta: of the guaranteed policy.
        patience: numbers of classifiers in a row that agree.
        folder: photographs of the target camera that replace the calibration split, or None.
    """

    cost: Literal["emulated", "macs", "measured"]
    loss: Annotated[list[Annotated[float, Field(ge=0, lt=1)]], Field(min_length=1), AfterValidator(_ascending)]
    risk: Annotated[float, Field(gt=0, lt=1)]
    delta: Annotated[float, Field(gt=0, lt=1)]
    patience: Annotated[list[Annotated[int, Field(ge=2, le=100)]], AfterValidator(_ascending)]
    folder: FilePath | None

    def searched(self) -> dict[str, float]:
        """Return the loss of each searched policy, by its name."""
        return {f"searched_{loss:g}": loss for loss in self.loss}

    def patient(self) -> dict[str, int]:
        """Return the classifiers in a row of each patience policy, by its name."""
        return {f"patience{count}": count for count in self.patience}


class ShiftParams(Strict):
    """Images of another kind than the data.

    Attributes:
        folder: labelled photographs of another camera, in COCO layout with a val split, or None.
    """

    folder: FilePath | None


class BenchmarkParams(Strict):
    """Latency measurement."""

    passes: Annotated[int, Field(ge=1, le=10_000)]


class FirmwareParams(Strict):
    """The C library."""

    policy: str


class EmulateParams(Strict):
    """Runs on the emulated Cortex-M4: calibration images through each segment, val images through the cascade."""

    images: Annotated[Images, Field(ge=1)]
    cascade_images: Annotated[Images, Field(ge=1)]
    refill: Annotated[int, Field(ge=1, le=3)]
    clock_mhz: Annotated[int, Field(ge=1, le=1000)]


class ReportParams(Strict):
    """The page reports/report.html.

    Attributes:
        thumbnails: auto shows val images only where they are generated scenes; never shows none.
    """

    thumbnails: Literal["auto", "never"]


class Limit(Strict):
    """Bytes that the device has for a network of each backbone."""

    mobilenet_v2: Count
    mobilenet_v1: Count


class MemoryParams(Strict):
    """The budget of the device."""

    flash_limit: Limit
    sram_limit: Limit


class Params(Strict):
    """All of params.yaml."""

    data: DataParams
    model: ModelParams
    exits: ExitParams
    placement: PlacementParams
    augment: AugmentRecipe
    teacher: TeacherParams
    train: TrainParams
    baseline: BaselineRecipe
    disjoint: DisjointRecipe
    joint: JointRecipe
    prune: PruneParams
    qat: QatRecipe
    export: ExportParams
    ptq: PtqParams
    calibrate: CalibrateParams
    policy: PolicyParams
    benchmark: BenchmarkParams
    shift: ShiftParams
    memory: MemoryParams
    firmware: FirmwareParams
    emulate: EmulateParams
    report: ReportParams

    def baseline_architecture(self) -> Architecture:
        """Return the network without early exits."""
        return Architecture(backbone=self.model.table(), resolution=self.data.resolution)

    def architecture(self) -> Architecture:
        """Return the network with the given early exits."""
        return self.baseline_architecture().with_exits(self.given(), self.exits.channels)

    def given(self) -> Attached:
        """Return the given early exits."""
        return Attached(exits=getattr(self.exits, self.model.backbone), head=self.exits.head)

    def head_channels(self, exits: int) -> list[int]:
        """Return the channels of the head of each of so many exits."""
        return for_each(self.exits.channels, exits)

    def budget(self) -> tuple[int, int]:
        """Return the bytes of flash and of SRAM that the network may take."""
        memory, name = self.memory, self.model.backbone
        return getattr(memory.flash_limit, name), getattr(memory.sram_limit, name)

    def weight_format(self) -> WeightFormat:
        """Return how the weights of the quantized network are stored."""
        return WeightFormat(per_channel=self.ptq.weights == "per_channel", bits=self.ptq.bits)

    def policies(self) -> list[str]:
        """Return the names of all exit policies."""
        exits = self.placement.most if self.exits.placement == "searched" else len(self.given().exits)
        classifiers = exits + 1
        patient = [name for name, count in self.policy.patient().items() if count <= classifiers]
        return [*(f"p{p}" for p in self.calibrate.percentiles), *self.policy.searched(), "guaranteed", *patient]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = self.architecture()
        exits = len(given.exits)
        weights = len(for_each(self.joint.w_exits, exits))
        if self.exits.placement == "searched":
            self._check_search(len(given.exit_blocks))
        elif weights != exits:
            raise ValueError(
                f"joint.w_exits: {weights} weights for the {exits} exits of exits.{self.model.backbone}; "
                "give one for each exit, or one value for all"
            )
        rounding = self.qat.epochs > 0 and self.qat.rounding
        check_available(self.ptq.quantizer, self.ptq.weights, self.ptq.ranges, self.ptq.bits, learned=rounding)
        if self.qat.epochs and not (self.disjoint.epochs or self.joint.epochs):
            raise ValueError(
                f"qat.epochs: {self.qat.epochs}, but disjoint.epochs and joint.epochs are 0: there would be no trained "
                "exits to start from; give one of them some epochs"
            )
        if self.firmware.policy not in self.policies():
            raise ValueError(
                f"firmware.policy: no policy {self.firmware.policy}; there are {', '.join(self.policies())}"
            )
        return self

    def _check_search(self, blocks: int) -> None:
        for leaf, value in (("exits.channels", self.exits.channels), ("joint.w_exits", self.joint.w_exits)):
            if isinstance(value, list):
                raise ValueError(
                    f"{leaf}: {value}, but exits.placement is searched, which also chooses the number of exits; give "
                    "one value for all"
                )
        if self.placement.most > blocks:
            raise ValueError(
                f"placement.most: {self.placement.most} exits, but in model.{self.model.backbone} an exit can follow "
                f"{blocks} blocks only"
            )


def load(path: Path | str = "params.yaml") -> Params:
    """Read and check params.yaml (YAML 1.2, as `dvc exp run -S` writes it).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: one line per error. Each names the leaf and its value, and says what is wrong with it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not found; run from the folder that holds params.yaml")
    return _validated(_parsed(path.read_bytes(), path), f"{path}: ")


def overridden(params: Params, overrides: Sequence[str]) -> Params:
    """Return a copy of `params` with each override, "dotted.name=YAML value", put in.

    Raises:
        ValueError: one line per error. Each names the leaf and says what is wrong with it.
    """
    content = params.model_dump()
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            raise ValueError(f"{override}: no value; write name=value, e.g. data.resolution=88")
        _replace(content, name, _parsed(text, name))
    return _validated(content)


def _parsed(text: bytes | str, name: Path | str) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(text.decode("utf-8") if isinstance(text, bytes) else text)
    except _INVALID_YAML as error:
        raise ValueError(f"{name}: not valid YAML: {' '.join(str(error).split())}") from None


def _validated(content: Any, prefix: str = "") -> Params:
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise ValueError("\n".join(f"{prefix}{_describe(item)}" for item in error.errors())) from None


def _replace(content: dict[str, Any], name: str, value: Any) -> None:
    *path, leaf = name.split(".")
    section: Any = content
    for key in path:
        section = section.get(key) if isinstance(section, dict) else None
    if not isinstance(section, dict) or leaf not in section:
        raise ValueError(f"{name}: unknown; check the spelling")
    section[leaf] = value


def _describe(item: Any) -> str:
    leaf = ".".join(str(part) for part in item["loc"] if part not in (ONE, LIST))
    leaf = leaf if leaf.isprintable() and len(leaf) <= 200 else _SHORT.repr(leaf)
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "model_type":
        return f"{leaf or 'the whole file'}: must be a section of params (got {_SHORT.repr(item['input'])})"
    if item["type"] == "missing":
        return f"{leaf}: missing"
    if item["type"] == "extra_forbidden":
        return f"{leaf}: unknown; check the spelling"
    if item["type"] == "value_error":
        return f"{leaf}: {message}" if leaf else message
    return f"{leaf}: {message} (got {_SHORT.repr(item['input'])})"
