"""Checkpoints: weights as safetensors, the architecture and the facts of the training run as JSON. No pickle."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor, nn

from earlyexit.common.files import replacing, write_json
from earlyexit.model.facts import FACTS, WEIGHTS, architecture
from earlyexit.model.network import EarlyExitNetwork


def save(folder: Path, network: EarlyExitNetwork, facts: dict[str, Any]) -> None:
    """Write `network` and `facts` (JSON values) into the existing `folder`.

    Raises:
        OSError: the disk is full or the folder may not be written; names the file.
    """
    state = {name: value.contiguous().cpu() for name, value in network.state_dict().items()}
    with replacing(folder / WEIGHTS) as part:
        # Not save_file: it hides the system's error message, and ignores the umask.
        part.write_bytes(serialize(state))
    write_json(folder / FACTS, {"architecture": network.architecture.model_dump(), **facts})


def load(folder: Path) -> EarlyExitNetwork:
    """Read the network that `save` wrote into `folder`; on the CPU, in training mode.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the weights do not fit the architecture; names every tensor that does not.
    """
    network = EarlyExitNetwork(architecture(folder))
    load_weights(network, load_file(folder / WEIGHTS), source=folder / WEIGHTS)
    return network


def load_backbone(network: EarlyExitNetwork, folder: Path) -> None:
    """Load the baseline in `folder` into `network`: backbone and final classifier; the exits stay as they are.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the weights do not fit; names every tensor that does not.
    """
    load_weights(network, load_file(folder / WEIGHTS), source=folder / WEIGHTS, but="exits.")


def check_finite(state: dict[str, Tensor], source: Path) -> None:
    """Check that no weight is NaN or infinite.

    Raises:
        ValueError: names `source` and every tensor with such a value.
    """
    bad = [name for name, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if bad:
        raise ValueError(f"{source}: NaN or infinite values in {', '.join(bad)}")


def load_weights(module: nn.Module, state: dict[str, Tensor], *, source: Path, but: str | None = None) -> None:
    """Load `state` into `module`. Every name and shape must fit, except names of `module` that start with `but`.

    Raises:
        ValueError: names `source` and every tensor that does not fit.
    """
    own = {name: value for name, value in module.state_dict().items() if but is None or not name.startswith(but)}
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
