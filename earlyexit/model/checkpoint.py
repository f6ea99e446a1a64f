"""Checkpoints: weights as safetensors, the architecture and the facts of the training run as JSON. No pickle."""

from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor, nn

from earlyexit.common.files import read_json, replacing, write_json
from earlyexit.model.architecture import Architecture
from earlyexit.model.network import EarlyExitNetwork

WEIGHTS = "model.safetensors"
FACTS = "model.json"
_TYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
_TYPES |= {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}


def save(folder: Path, network: EarlyExitNetwork, facts: dict[str, Any]) -> None:
    """Write `network` and `facts` (JSON values) into the existing `folder`.

    Raises:
        OSError: naming the file, where the disk is full or the folder may not be written.
    """
    state = {name: value.contiguous().cpu() for name, value in network.state_dict().items()}
    with replacing(folder / WEIGHTS) as part:
        part.write_bytes(serialize(state))  # save_file would hide what the system says, and the umask's permissions.
    write_json(folder / FACTS, {"architecture": network.architecture.model_dump(), **facts})


def load(folder: Path) -> EarlyExitNetwork:
    """Read the network that `save` wrote into `folder`; on the CPU, in training mode.

    Raises:
        FileNotFoundError, ValueError: naming the file and what is wrong with it.
    """
    facts = read_json(folder / FACTS)
    try:
        architecture = Architecture.model_validate(facts["architecture"], strict=False)
    except (KeyError, TypeError, ValidationError) as error:
        raise ValueError(f"{folder / FACTS}: no valid architecture: {' '.join(str(error).split())}") from error
    network = EarlyExitNetwork(architecture)
    load_weights(network, read_weights(folder / WEIGHTS), source=folder / WEIGHTS)
    return network


def load_backbone(network: EarlyExitNetwork, folder: Path) -> None:
    """Load the baseline in `folder` into `network`: backbone and final classifier; the exits stay as they are.

    Raises:
        FileNotFoundError, ValueError: naming the file and every tensor that does not fit.
    """
    path = folder / WEIGHTS
    load_weights(network, read_weights(path), source=path, but="exits.")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file.

    Raises:
        FileNotFoundError, ValueError: it is missing, damaged, or holds a NaN or an infinity.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not found")
    try:
        state: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error})") from error
    unknown = sorted({str(value.dtype).removeprefix("torch.") for value in state.values() if value.dtype not in _TYPES})
    if unknown:
        raise ValueError(f"{path}: tensors of type {', '.join(unknown)}, expected float16, 32 or 64, or integers")
    bad = [name for name, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if bad:
        raise ValueError(f"{path}: NaN or infinite values in {', '.join(bad)}")
    return state


def load_weights(module: nn.Module, state: dict[str, Tensor], *, source: Path, but: str = "\0") -> None:
    """Load `state` into `module`; every name and shape must fit, names of `module` that start with `but` excepted.

    Raises:
        ValueError: naming `source` and every tensor that does not fit.
    """
    own = {name: value for name, value in module.state_dict().items() if not name.startswith(but)}
    wrong = [f"{name} missing" for name in own.keys() - state.keys()]
    wrong += [f"{name if name.isprintable() else repr(name)} unknown" for name in state.keys() - own.keys()]
    wrong += [
        f"{name} has shape {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
        for name in own.keys() & state.keys()
        if own[name].shape != state[name].shape
    ]
    if wrong:
        raise ValueError(f"{source} does not fit the network: {'; '.join(sorted(wrong))}")
    module.load_state_dict(state, strict=False)
