"""The structure of a network as data: the backbone's table of blocks, the exits' positions and heads."""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from earlyexit.common.pixels import Divisor, Normalization, Offset

Channels = Annotated[int, Field(ge=1, le=4096)]
Stride = Annotated[int, Field(ge=1, le=2)]
Repeats = Annotated[int, Field(ge=1, le=64)]
Expansion = Annotated[int, Field(ge=1, le=16)]


def _row(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


V2Row = Annotated[tuple[Expansion, Channels, Repeats, Stride], BeforeValidator(_row)]
V1Row = Annotated[tuple[Channels, Repeats, Stride], BeforeValidator(_row)]
Head = Literal["separable", "strided", "pooled"]
HEAD_STRIDES = {"separable": 1, "strided": 2}
"""The stride of the depthwise convolution of those heads that have one."""
Value = TypeVar("Value", int, float)
# The tags stand in the places that pydantic's errors name, as parts of their own.
ONE, LIST = "(one value)", "(list)"
ForEachExit = Annotated[
    Annotated[Value, Tag(ONE)] | Annotated[list[Value], Field(min_length=1), Tag(LIST)],
    Discriminator(lambda value: LIST if isinstance(value, list) else ONE),
]
"""One value for all exits, or a list of one for each."""
MOST_WEIGHTS = 2**26  # a hundred times what a microcontroller holds


class Strict(BaseModel):
    """Settings that refuse unknown, missing and mistyped keys, and that cannot be changed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def for_each(value: ForEachExit[Value], exits: int) -> list[Value]:
    """Return the values of `exits` exits; a list as it is, whatever its length."""
    return value if isinstance(value, list) else [value] * exits


class Block(Strict):
    """One block of a backbone, its width multiplier applied.

    Attributes:
        name: block1, block2, ...
        expansion: more than 1 where a 1x1 convolution stands before the depthwise convolution.
        hidden: channels of the depthwise convolution.
        channels: of the output.
        stride: of the depthwise convolution.
        shortcut: whether the input is added to the output.
    """

    name: str
    expansion: int
    hidden: int
    channels: int
    stride: int
    shortcut: bool


class BlockWidths(Strict):
    """Channels of a block's depthwise convolution and of its output."""

    hidden: Channels
    channels: Channels


class Widths(Strict):
    """The number of channels of each part of a backbone.

    Attributes:
        stem: of the first convolution.
        blocks: of each block.
        last: of MobileNetV2's last 1x1 convolution; None for MobileNetV1.
    """

    stem: Channels
    blocks: list[BlockWidths]
    last: Channels | None


class _Table(Strict):
    width: Annotated[float, Field(gt=0, le=4)]
    stem: Channels
    input_offset: Offset
    input_divisor: Divisor

    def scaled(self, channels: int) -> int:
        """Return `channels` times the width multiplier, to the nearest multiple of 4, at least 4."""
        return max(4, int(channels * self.width / 4 + 0.5) * 4)

    def _expand(self, rows: list[tuple[int, int, int, int]], *, shortcuts: bool) -> list[Block]:
        flat = [(t, self.scaled(c), s if i == 0 else 1) for t, c, n, s in rows for i in range(n)]
        blocks, inputs = [], self.scaled(self.stem)
        for number, (expansion, channels, stride) in enumerate(flat, start=1):
            block = Block(
                name=f"block{number}",
                expansion=expansion,
                hidden=inputs * expansion,
                channels=channels,
                stride=stride,
                shortcut=shortcuts and stride == 1 and inputs == channels,
            )
            blocks.append(block)
            inputs = channels
        return blocks


class MobileNetV2Table(_Table):
    """MobileNetV2: inverted residuals with ReLU6, rows of (expansion, channels, repeats, stride); Sandler 2018."""

    family: Literal["mobilenet_v2"] = "mobilenet_v2"
    blocks: Annotated[list[V2Row], Field(min_length=1, max_length=64)]
    last: Channels

    def block_list(self) -> list[Block]:
        """Return the blocks one by one, named block1, block2, ...; a row's stride belongs to its first block."""
        return self._expand(self.blocks, shortcuts=True)

    def widths(self) -> Widths:
        """Return the channels of each part of the backbone, as long as nothing is pruned."""
        return _widths(self.scaled(self.stem), self.block_list(), self.scaled(self.last))


class MobileNetV1Table(_Table):
    """MobileNetV1: depthwise-separable blocks with ReLU, rows of (channels, repeats, stride); Howard et al. 2017."""

    family: Literal["mobilenet_v1"] = "mobilenet_v1"
    blocks: Annotated[list[V1Row], Field(min_length=1, max_length=64)]

    def block_list(self) -> list[Block]:
        """Return the blocks one by one, named block1, block2, ...; a row's stride belongs to its first block."""
        return self._expand([(1, *row) for row in self.blocks], shortcuts=False)

    def widths(self) -> Widths:
        """Return the channels of each part of the backbone, as long as nothing is pruned."""
        return _widths(self.scaled(self.stem), self.block_list(), None)


def _widths(stem: int, blocks: list[Block], last: int | None) -> Widths:
    parts = [BlockWidths(hidden=block.hidden, channels=block.channels) for block in blocks]
    return Widths(stem=stem, blocks=parts, last=last)


BackboneTable = Annotated[MobileNetV2Table | MobileNetV1Table, Field(discriminator="family")]


class Attached(Strict):
    """The early exits that are attached to a backbone: the blocks that they follow, and their head."""

    exits: list[str]
    head: Head


class Architecture(Strict):
    """A network: backbone, input size, and the block after which each early exit sits (none for the baseline).

    Attributes:
        backbone: the table of its blocks.
        resolution: height and width of the input.
        exits: the block after which each early exit sits.
        head, head_channels: of the early exits.
        pruned: the channels that pruning left in the backbone; None: those of the table.
    """

    backbone: BackboneTable
    resolution: Annotated[int, Field(ge=1, le=4096)]
    exits: list[str] = []
    head: Head = "pooled"
    head_channels: list[Channels] = []
    pruned: Widths | None = None

    @property
    def widths(self) -> Widths:
        """The channels of each part of the backbone."""
        return self.pruned or self.backbone.widths()

    @property
    def blocks(self) -> list[Block]:
        """The blocks of the backbone, with the channels that they have."""
        return [
            block.model_copy(update=dict(width))
            for block, width in zip(self.backbone.block_list(), self.widths.blocks, strict=True)
        ]

    def with_exits(self, attached: Attached, channels: ForEachExit[int]) -> "Architecture":
        """Return this backbone with the early exits of `attached`; `channels`: of their heads' convolution.

        Raises:
            ValueError: an exit does not fit.
        """
        head_channels = for_each(channels, len(attached.exits))
        return Architecture(**{**dict(self), **dict(attached), "head_channels": head_channels})

    def without_exits(self) -> "Architecture":
        """Return this backbone without early exits."""
        return Architecture(backbone=self.backbone, resolution=self.resolution, pruned=self.pruned)

    @property
    def outputs(self) -> list[str]:
        """Names of the classifiers in order: exit1, exit2, ..., final."""
        return [f"exit{i + 1}" for i in range(len(self.exits))] + ["final"]

    @property
    def exit_blocks(self) -> list[str]:
        """Names of the blocks after which an exit can sit; not MobileNetV1's last, where the final classifier sits."""
        names = [block.name for block in self.backbone.block_list()]
        return names[:-1] if self.backbone.family == "mobilenet_v1" else names

    @property
    def segment_blocks(self) -> list[list[str]]:
        """Names of the backbone's parts in each segment: stem, block1, block2, ..., and MobileNetV2's last."""
        end = ["last"] if self.backbone.family == "mobilenet_v2" else []
        segments: list[list[str]] = [[]]
        for name in ["stem", *(block.name for block in self.backbone.block_list()), *end]:
            segments[-1].append(name)
            if name in self.exits:
                segments.append([])
        return segments

    @property
    def pixels(self) -> Normalization:
        """The normalization of the input."""
        return Normalization(offset=self.backbone.input_offset, divisor=self.backbone.input_divisor)

    @model_validator(mode="after")
    def _holdable(self) -> Self:
        table = self.backbone
        width, weights = table.scaled(table.stem), 0
        for block in table.block_list():
            weights += width * block.expansion * (width * (block.expansion > 1) + 9 + block.channels)
            width = block.channels
        if isinstance(table, MobileNetV2Table):
            weights += width * table.scaled(table.last)
        if weights > MOST_WEIGHTS:
            raise ValueError(
                f"model.{table.family}: {weights:,} weights, more than {MOST_WEIGHTS:,}; fewer channels fit"
            )
        return self

    @model_validator(mode="after")
    def _pruned_fit(self) -> Self:
        if self.pruned is None:
            return self
        whole, found = self.backbone.widths(), self.pruned
        if len(found.blocks) != len(whole.blocks) or (found.last is None) != (whole.last is None):
            raise ValueError(f"pruned: not the parts of the {self.backbone.family} table")
        inputs = found.stem
        for block in self.blocks:
            if block.shortcut and block.channels != inputs:
                raise ValueError(f"pruned: {block.name} adds {inputs} channels to {block.channels}")
            if block.expansion == 1 and block.hidden != inputs:
                raise ValueError(f"pruned: {block.name} reads {inputs} channels with a depthwise of {block.hidden}")
            inputs = block.channels
        return self

    @model_serializer(mode="wrap")
    def _without_default(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Return the fields; `pruned` only where there is something to say."""
        fields: dict[str, Any] = serialize(self)
        if self.pruned is None:
            del fields["pruned"]
        return fields

    @model_validator(mode="after")
    def _exits_fit(self) -> Self:
        names = [block.name for block in self.backbone.block_list()]
        param = f"exits.{self.backbone.family}"
        for name in self.exits:
            if name not in names:
                raise ValueError(f"{param}: no {name!r}; the blocks are {names[0]} to {names[-1]}")
        positions = [names.index(name) for name in self.exits]
        if sorted(set(positions)) != positions:
            raise ValueError(f"{param}: {self.exits} must ascend, each block once")
        if self.exits and self.exits[-1] not in self.exit_blocks:
            raise ValueError(f"{param}: {self.exits[-1]} is the last block, where the final classifier sits already")
        if self.head in HEAD_STRIDES and len(self.head_channels) != len(self.exits):
            raise ValueError(
                f"exits.channels: {len(self.head_channels)} values for the {len(self.exits)} exits of {param}; give "
                "one for each exit, or one value for all"
            )
        return self
