"""The files of a checkpoint, and what it says of its network: architecture and training run. Loads no PyTorch."""

import shutil
from pathlib import Path
from typing import Any

from earlyexit.common.files import read_json
from earlyexit.model.architecture import Architecture

WEIGHTS = "model.safetensors"
FACTS = "model.json"


def copy(source: Path, folder: Path) -> None:
    """Copy the checkpoint in `source`, and nothing else that lies there, into the existing `folder`.

    Raises:
        OSError: a file is missing, or the copy may not be written.
    """
    for name in (WEIGHTS, FACTS):
        shutil.copyfile(source / name, folder / name)


def architecture(folder: Path) -> Architecture:
    """Return the architecture of the network that `checkpoint.save` wrote into `folder`.

    Raises:
        FileNotFoundError: the file is missing.
    """
    return Architecture.model_validate(read_json(folder / FACTS)["architecture"])


def facts(folder: Path) -> dict[str, Any]:
    """Return the facts that `checkpoint.save` wrote into `folder`; raises as `architecture`."""
    return {name: value for name, value in read_json(folder / FACTS).items() if name != "architecture"}
