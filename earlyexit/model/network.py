"""The network: a backbone of named blocks, a classifier at its end, and early exits on the way (Fig. 3 of the paper).

A *segment* is the piece between two exits. Training runs the whole network and gets the logits of every exit.
Deployment runs segment after segment and stops at the first exit whose confidence is above its threshold.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from earlyexit.model.architecture import HEAD_STRIDES, Architecture, Block, Head
from earlyexit.task import CLASSES


class ConvUnit(nn.Module):
    """Convolution without bias, batch norm, activation; padded as TensorFlow's SAME.

    At stride 2, SAME pads an even size at the bottom and the right only. The converter folds an explicit pad in front
    of an unpadded convolution into the convolution. Symmetric padding would leave a PAD operator, and with it a second
    copy of the tensor in the arena.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        act: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        self.act: nn.Module = act or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, ceil(H / stride), ceil(W / stride))."""
        top, bottom = _same_padding(x.shape[2], self.kernel, self.stride)
        left, right = _same_padding(x.shape[3], self.kernel, self.stride)
        if (top, left) == (bottom, right):
            x = F.conv2d(x, self.conv.weight, self.conv.bias, self.stride, (top, left), groups=self.conv.groups)
        else:
            x = self.conv(F.pad(x, (left, right, top, bottom)))
        y: Tensor = self.act(self.norm(x))
        return y

    def fold(self) -> None:
        """Fold the batch norm into the convolution; for inference only."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


class InvertedResidual(nn.Module):
    """MobileNetV2's block: 1x1 expansion, 3x3 depthwise, 1x1 linear projection; a shortcut if the shape stays."""

    def __init__(self, inputs: int, block: Block) -> None:
        super().__init__()
        hidden = block.hidden
        expand = [ConvUnit(inputs, hidden, act=nn.ReLU6(inplace=True))] if block.expansion > 1 else []
        self.layers = nn.Sequential(
            *expand,
            ConvUnit(hidden, hidden, kernel=3, stride=block.stride, groups=hidden, act=nn.ReLU6(inplace=True)),
            ConvUnit(hidden, block.channels),
        )
        self.shortcut = block.shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, channels, ceil(H / stride), ceil(W / stride))."""
        y: Tensor = self.layers(x)
        return x + y if self.shortcut else y


class SeparableConv(nn.Sequential):
    """3x3 depthwise and 1x1 pointwise convolution, each with batch norm and activation: MobileNetV1's block."""

    def __init__(self, inputs: int, outputs: int, stride: int, act: type[nn.Module]) -> None:
        super().__init__(
            ConvUnit(inputs, inputs, kernel=3, stride=stride, groups=inputs, act=act(inplace=True)),
            ConvUnit(inputs, outputs, act=act(inplace=True)),
        )


class Classifier(nn.Module):
    """Exit head: optional convolution, global average pooling, linear layer."""

    def __init__(self, inputs: int, conv: nn.Module | None = None, channels: int | None = None) -> None:
        super().__init__()
        self.conv = conv or nn.Identity()
        self.linear = nn.Linear(channels or inputs, len(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, channels, H, W) to logits (N, 2)."""
        # Pooling the NHWC view keeps the converter from inserting a TRANSPOSE.
        pooled = self.conv(x).permute(0, 2, 3, 1).mean((1, 2))
        logits: Tensor = self.linear(pooled)
        return logits


class EarlyExitNetwork(nn.Module):
    """Backbone with early exits; without exits, it is the paper's baseline.

    Args:
        architecture: the blocks, the positions of the exits, the input size.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        table = architecture.backbone
        act: type[nn.Module] = nn.ReLU6 if table.family == "mobilenet_v2" else nn.ReLU
        widths = architecture.widths
        blocks: OrderedDict[str, nn.Module] = OrderedDict(
            stem=ConvUnit(3, widths.stem, kernel=3, stride=2, act=act(inplace=True))
        )
        channels = {}
        width = widths.stem
        for block in architecture.blocks:
            if table.family == "mobilenet_v2":
                blocks[block.name] = InvertedResidual(width, block)
            else:
                blocks[block.name] = SeparableConv(width, block.channels, block.stride, act)
            width = channels[block.name] = block.channels
        if widths.last is not None:
            blocks["last"] = ConvUnit(width, widths.last, act=act(inplace=True))
            width = widths.last
        self.blocks = nn.ModuleDict(blocks)
        self.exits = nn.ModuleList(
            exit_head(architecture.head, channels[name], architecture.head_channels[index : index + 1])
            for index, name in enumerate(architecture.exits)
        )
        self.classifier = Classifier(width)
        self.norm_frozen = False

    def train(self, mode: bool = True) -> "EarlyExitNetwork":
        """Switch to training mode; if `norm_frozen` is set, batch norm of the backbone stays in eval mode."""
        super().train(mode)
        if self.norm_frozen:
            for module in self.blocks.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    @property
    def resolution(self) -> int:
        """Height and width of the input, in pixels."""
        return self.architecture.resolution

    def normalize(self, images: Tensor) -> Tensor:
        """Return the float input (N, 3, H, W), channels last in memory, for uint8 images (N, H, W, 3)."""
        return self.architecture.pixels(images.float()).permute(0, 3, 1, 2)

    def features(self, x: Tensor) -> list[Tensor]:
        """Map the input (N, 3, H, W) to the input of each classifier, the final one's last; each (N, C, H', W')."""
        seen = []
        for segment in self.architecture.segment_blocks:
            for name in segment:
                x = self.blocks[name](x)
            seen.append(x)
        return seen

    def classify(self, features: list[Tensor]) -> list[Tensor]:
        """Map the result of `features` to the logits of each exit and of the final classifier; each (N, 2)."""
        return [head(x) for head, x in zip(self.heads(), features, strict=True)]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map the input (N, 3, H, W) to the logits (N, 2) of each exit and of the final classifier, in order."""
        return self.classify(self.features(x))

    def heads(self) -> list[nn.Module]:
        """Return the classifiers in order: the exits, then the final one."""
        return [*self.exits, self.classifier]

    def segments(self) -> list["SegmentModule"]:
        """Return the segments in order; they share this network's weights."""
        heads = self.heads()
        return [
            SegmentModule([self.blocks[name] for name in names], heads[i], last=i == len(heads) - 1)
            for i, names in enumerate(self.architecture.segment_blocks)
        ]

    def fold(self) -> "EarlyExitNetwork":
        """Switch to eval mode and fold every batch norm into its convolution; return the network itself."""
        self.eval()
        for module in self.modules():
            if isinstance(module, ConvUnit):
                module.fold()
        return self


class SegmentModule(nn.Module):
    """One deployed piece: NHWC in, (logits, NHWC features) out; the last segment returns its logits only."""

    def __init__(self, blocks: list[nn.Module], head: nn.Module, *, last: bool) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.head = head
        self.last = last

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor] | Tensor:
        """Map a normalized image or the features of the segment before, (N, H, W, C)."""
        y = self.blocks(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        logits: Tensor = self.head(y.permute(0, 3, 1, 2))
        return logits if self.last else (logits, y)


def exit_head(head: Head, inputs: int, channels: Sequence[int] = ()) -> Classifier:
    """Return an untrained early exit.

    Args:
        head: its kind.
        inputs: channels of the features that it reads.
        channels: of its convolution, one value; ignored for a head without one.
    """
    if head not in HEAD_STRIDES:
        return Classifier(inputs)
    (outputs,) = channels
    # ReLU6 on either backbone: batch norm of a channel that a trained backbone hardly uses divides by almost 0. Without
    # a bound, that channel's rare outliers would set the INT8 range of all channels.
    return Classifier(inputs, SeparableConv(inputs, outputs, HEAD_STRIDES[head], nn.ReLU6), outputs)


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
