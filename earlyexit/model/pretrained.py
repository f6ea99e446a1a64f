"""Pretrained weights for the baseline: its own state dict, or numbered layers from another framework."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from earlyexit.model.architecture import Architecture, BlockWidths, Widths
from earlyexit.model.checkpoint import check_finite, load_weights
from earlyexit.model.inference import predict
from earlyexit.model.network import ConvUnit, EarlyExitNetwork

_TENSOR = re.compile(r"(\d{2,})\.((?:conv|depthwise|linear|norm)\.\w+)")
_NORM = ("weight", "bias", "running_mean", "running_var")
_COUNTER = "norm.num_batches_tracked"  # in every state dict of PyTorch; not used in inference
_EPSILON = 1e-5  # nn.BatchNorm2d's default
_SMALLEST_EPSILON = 1e-8  # below it, the difference from 1e-5 is lost in the rounding of a float variance
_TYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
_TYPES |= {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}


SETTLING = 2048
"""How many training images `pretrained` looks at for the statistics of batch norm."""


def pretrained(plain: Architecture, path: Path, images: np.ndarray, device: torch.device) -> EarlyExitNetwork:
    """Return a network with the weights in the file at `path`, ready to be trained on, on `device`.

    Args:
        plain: the architecture of params.yaml, without exits.
        path: a safetensors file.
        images: of the train split, uint8 (N, H, W, 3).
        device: where the network will be.

    Raises:
        FileNotFoundError, ValueError: as `load_pretrained`.
    """
    network = EarlyExitNetwork(pretrained_architecture(plain, path))
    load_pretrained(network, path)
    settle_norms(network, images[:SETTLING], device)
    return network


def pretrained_architecture(plain: Architecture, path: Path) -> Architecture:
    """Return the architecture of the weights in the file at `path`: `plain`, or `plain` with fewer channels.

    The shapes of a pruned network's state dict say how many channels are left. Any other file gives `plain`, and
    `load_pretrained` says what is wrong with it.
    """
    try:
        shapes = {name: tuple(value.shape) for name, value in load_file(path).items()}
        widths = _widths(plain, shapes)
        found = plain if widths == plain.backbone.widths() else plain.model_copy(update={"pruned": widths})
        found = Architecture.model_validate(dict(found))
        with torch.device("meta"):  # takes no random numbers
            own = EarlyExitNetwork(found).state_dict()
    except (OSError, SafetensorError, LookupError, ValueError):
        return plain
    return found if {name: tuple(value.shape) for name, value in own.items()} == shapes else plain


def _widths(plain: Architecture, shapes: dict[str, tuple[int, ...]]) -> Widths:
    """Return the channels that the shapes of a state dict say; KeyError where a part is missing."""
    outputs: dict[str, list[int]] = {}
    for name, shape in shapes.items():
        if name.startswith("blocks.") and name.endswith("conv.weight"):
            outputs.setdefault(name.split(".")[1], []).append(shape[0])
    return Widths(
        stem=outputs["stem"][-1],
        blocks=[BlockWidths(hidden=outputs[b.name][-2], channels=outputs[b.name][-1]) for b in plain.blocks],
        last=None if plain.widths.last is None else outputs["last"][-1],
    )


def load_pretrained(network: EarlyExitNetwork, path: Path) -> None:
    """Load the safetensors file at `path` into `network`, a baseline (no exits).

    The file holds either the state dict of such a network, or its layers in the order of the forward pass, numbered:

        00.conv.weight         (O, I, H, W)         convolution, also 1x1
        01.depthwise.weight    (C, 1, H, W)
        27.linear.weight       (2, C)               the last layer; 27.linear.bias (2,)

    Each convolution has a bias ("00.conv.bias"), its batch norm folded into it, or a batch norm ("00.norm.weight",
    "00.norm.bias", "00.norm.running_mean", "00.norm.running_var"), or both; the metadata key "epsilon" is the epsilon
    of these batch norms, 1e-5 without it. In eval mode the network then computes the function that the file describes:
    a folded bias becomes the bias of a batch norm that is otherwise the identity; another epsilon is added to the
    variance.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, holds a NaN or an infinity, or does not fit the network. The message lists
            every tensor that does not fit, and `network` is unchanged.
    """
    try:
        state = _read(path)
        if state.keys() & network.state_dict().keys():
            load_weights(network, state, source=path)
        else:
            network.load_state_dict(_from_layers(network, state, path))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"baseline.pretrained: {error}") from error
    except ValueError as error:
        raise ValueError(f"baseline.pretrained: {error}") from error


def _read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file; ValueError if it is damaged, or holds a NaN or an infinity."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not found")
    try:
        state: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error})") from error
    unknown = sorted({str(value.dtype).removeprefix("torch.") for value in state.values() if value.dtype not in _TYPES})
    if unknown:
        raise ValueError(f"{path}: tensors of type {', '.join(unknown)}, expected float16, 32 or 64, or integers")
    check_finite(state, path)
    return state


@torch.no_grad()
def settle_norms(network: EarlyExitNetwork, images: np.ndarray, device: torch.device) -> None:
    """Set the statistics of each batch norm to those of its input over `images`, uint8 (N, H, W, 3).

    A folded file has no statistics, so in training mode, with those of the batch, the network would compute another
    function. Weight and bias compensate for the new statistics: in eval mode the logits stay the same, and in training
    mode they become nearly the same.
    """
    network.to(device).eval()
    moments = {unit.norm: _Moments() for unit in network.modules() if isinstance(unit, ConvUnit)}
    hooks = [norm.register_forward_pre_hook(moment.add) for norm, moment in moments.items()]
    predict(network, images, device)
    for hook in hooks:
        hook.remove()
    for norm, moment in moments.items():
        assert isinstance(norm, nn.BatchNorm2d)
        mean, variance = moment.mean_and_variance()
        was_mean, was_variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        deviation = (was_variance.double() + norm.eps).sqrt()
        norm.bias.add_(norm.weight * (mean - was_mean) / deviation)
        norm.weight.mul_((variance + norm.eps).sqrt() / deviation)
        was_mean.copy_(mean)
        was_variance.copy_(variance)


class _Moments:
    """Mean and variance of a tensor's channels over batches (N, C, H, W)."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Tensor | float = 0.0
        self.squares: Tensor | float = 0.0

    def add(self, _: nn.Module, inputs: tuple[Tensor]) -> None:
        x = inputs[0].double()
        self.count += x.numel() // x.shape[1]
        self.total = self.total + x.sum((0, 2, 3))
        self.squares = self.squares + (x * x).sum((0, 2, 3))

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        mean = torch.as_tensor(self.total) / self.count
        return mean, (torch.as_tensor(self.squares) / self.count - mean * mean).clamp_min(0)


@dataclass(frozen=True)
class _Layer:
    """A layer of the network: `number` and `kind` name its tensors in a file, `name` its module in the network."""

    number: str
    kind: str
    name: str
    module: ConvUnit | nn.Linear

    @property
    def weight(self) -> Tensor:
        return self.module.weight if isinstance(self.module, nn.Linear) else self.module.conv.weight

    def label(self, tensor: str) -> str:
        return f"{self.number}.{tensor} ({self.name})"

    def misfits(self, found: dict[str, Tensor]) -> Iterator[str]:
        """Yield what is wrong with the tensors that the file has under this number."""
        if not found:
            yield f"{self.label(self.kind)} missing"
            return
        kinds = {name.partition(".")[0] for name in found} - {"norm"}
        if kinds and self.kind not in kinds:
            yield f"{self.label('/'.join(sorted(kinds)))} where {self.kind} is expected"
            return
        shapes = self._shapes(found)
        for name, shape in shapes.items():
            if name not in found:
                neither = name.endswith(".bias") and not name.startswith(("norm", "linear"))
                yield f"{self.label(name)} missing" + f", and no {self.number}.norm either" * neither
            elif tuple(found[name].shape) != shape:
                yield f"{self.label(name)} has shape {tuple(found[name].shape)}, not {shape}"
            elif not found[name].is_floating_point():
                yield f"{self.label(name)} has type {str(found[name].dtype).removeprefix('torch.')}, not a float"
            elif name == "norm.running_var" and (found[name] < 0).any():
                yield f"{self.label(name)} has negative values"
        for name in sorted(found.keys() - shapes.keys() - {_COUNTER}):
            yield f"{self.label(name)} unknown"

    def _shapes(self, found: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
        vector = (self.weight.shape[0],)
        shapes = {f"{self.kind}.weight": tuple(self.weight.shape), f"{self.kind}.bias": vector}
        if isinstance(self.module, nn.Linear) or not any(name.startswith("norm.") for name in found):
            return shapes
        if f"{self.kind}.bias" not in found:
            del shapes[f"{self.kind}.bias"]
        return shapes | {f"norm.{name}": vector for name in _NORM}

    def state(self, found: dict[str, Tensor], epsilon: float) -> dict[str, Tensor]:
        """Return the network's tensors for those of the file, which must fit."""
        # In double: the sums below would be rounded in float, and 1 - 1e-5 is 1 in half precision.
        weight = found[f"{self.kind}.weight"].double()
        bias = found.get(f"{self.kind}.bias", torch.zeros(weight.shape[0])).double()
        if isinstance(self.module, nn.Linear):
            return {f"{self.name}.weight": weight, f"{self.name}.bias": bias}
        norm = self.module.norm
        assert isinstance(norm, nn.BatchNorm2d)
        if "norm.weight" in found:
            values = {name: found[f"norm.{name}"].double() for name in _NORM}
            values["running_mean"] = values["running_mean"] - bias
            values["running_var"] = values["running_var"] + (epsilon - norm.eps)
        else:
            one = torch.ones_like(bias)
            values = {"weight": one, "bias": bias, "running_mean": 0 * one, "running_var": one - norm.eps}
        values["num_batches_tracked"] = torch.tensor(0)
        return {f"{self.name}.conv.weight": weight} | {f"{self.name}.norm.{name}": x for name, x in values.items()}


def _layers(network: EarlyExitNetwork) -> list[_Layer]:
    modules: list[tuple[str, ConvUnit | nn.Linear]] = [
        (f"blocks.{name}", module) for name, module in network.blocks.named_modules() if isinstance(module, ConvUnit)
    ]
    modules.append(("classifier.linear", network.classifier.linear))
    return [_Layer(f"{i:02d}", _kind(module), name, module) for i, (name, module) in enumerate(modules)]


def _kind(module: ConvUnit | nn.Linear) -> str:
    if isinstance(module, nn.Linear):
        return "linear"
    return "depthwise" if module.conv.groups > 1 else "conv"


def _from_layers(network: EarlyExitNetwork, state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    layers = _layers(network)
    numbered: dict[str, dict[str, Tensor]] = {}
    unknown = []
    for name in sorted(state):
        if match := _TENSOR.fullmatch(name):
            numbered.setdefault(match[1], {})[match[2]] = state[name]
        else:
            unknown.append(name if name.isprintable() else repr(name))
    if not numbered:
        raise ValueError(
            f"{path} does not fit the network: its names are neither a baseline's own (blocks.stem.conv.weight, ...) "
            f"nor those of layers in order (00.conv.weight, ...), but {', '.join(unknown[:3]) or 'none at all'}"
            f"{', ...' if len(unknown) > 3 else ''}"
        )
    epsilon, problems = _epsilon(path)
    if len(numbered) != len(layers):
        problems.append(f"{len(numbered)} layers, not {len(layers)}")
    for layer in layers:
        problems += layer.misfits(numbered.get(layer.number, {}))
    for number in numbered.keys() - {layer.number for layer in layers}:
        unknown += [f"{number}.{name}" for name in numbered[number]]
    problems += [f"{name} unknown" for name in sorted(unknown)]
    if problems:
        raise ValueError(f"{path} does not fit the network: {'; '.join(problems)}")
    return {name: value for x in layers for name, value in x.state(numbered[x.number], epsilon).items()}


def _epsilon(path: Path) -> tuple[float, list[str]]:
    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get("epsilon", str(_EPSILON))
    try:
        epsilon = float(text)
    except ValueError:
        epsilon = math.nan
    if _SMALLEST_EPSILON <= epsilon < 1:
        return epsilon, []
    return _EPSILON, [f"metadata epsilon is {text!r}, not a number from {_SMALLEST_EPSILON} to 1"]
