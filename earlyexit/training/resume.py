"""The state of a training after each epoch, on disk, so that a killed training goes on from there."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from earlyexit.common.files import replacing, write_json
from earlyexit.dataset import PackedSplit
from earlyexit.model.architecture import Strict
from earlyexit.training import distributed
from earlyexit.training.average import Average

# Folders and modules of earlyexit/ that determine what a training computes.
CODE = ("training", "model", "dataset.py", "task.py", "common/pixels.py", "common/vision.py")
FACTS = "state.json"
PACKAGES = ("numpy", "torch", "torchvision")
SAMPLE = 64  # images that the fingerprint covers, spread over the split

Metrics = dict[str, float]


class Facts(Strict):
    """The content of state.json: of which training the tensors' file is, and what was logged until then."""

    fingerprint: dict[str, str]
    history: list[Metrics]
    scaler: dict[str, int | float]
    sha256: str


class Unfinished:
    """The last complete state of one training: `epochK.safetensors`, and state.json, which is written after it.

    Args:
        folder: for this state alone; made if it is missing.
        title: of the training, for messages.
        fingerprint: from `fingerprint`; a state with another fingerprint is not used.
        device: where the training runs.
    """

    def __init__(self, folder: Path, title: str, fingerprint: dict[str, str], device: torch.device) -> None:
        self.folder, self.title, self.fingerprint, self.device = folder, title, fingerprint, device

    def restore(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, average: Average
    ) -> list[Metrics]:
        """Restore the arguments and the random generators to the saved state; return the metrics of each epoch so far.

        Without a complete state of this training, nothing changes, and the list is empty; an unusable state is reported
        on stdout.

        Raises:
            ValueError: the processes do not all have the same data, code and settings.
        """
        _same_everywhere(self.fingerprint, self.device)
        facts_bytes, tensor_bytes = self._read() if distributed.is_main() else (b"", b"")
        facts_bytes = distributed.from_main(facts_bytes, self.device)
        tensor_bytes = distributed.from_main(tensor_bytes, self.device)
        if not facts_bytes:
            return []
        facts, tensors = Facts.model_validate_json(facts_bytes), from_bytes(tensor_bytes)
        model.load_state_dict(_group(tensors, "model"))
        average.load_state_dict(_group(tensors, "average"))
        for index, parameter in enumerate(optimizer.param_groups[0]["params"]):
            for name, value in _group(tensors, f"optimizer/{index}").items():
                # As the optimizer makes it: a scalar, or a tensor with the memory layout of its parameter.
                kept = torch.empty_like(parameter) if value.dim() else torch.empty((), device=parameter.device)
                optimizer.state[parameter][name] = kept.copy_(value)
        if facts.scaler:
            scaler.load_state_dict(facts.scaler)
        torch.set_rng_state(tensors["random/cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random/cuda"], self.device)
        return facts.history

    @torch.no_grad()
    def save(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        average: Average,
        history: list[Metrics],
    ) -> None:
        """Write the state after the last epoch of `history`, completely or not at all; only the main process writes.

        Raises:
            OSError: the disk is full or the folder may not be written; names the file.
        """
        if not distributed.is_main():
            return
        tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
        tensors |= {f"average/{name}": value for name, value in average.state_dict().items()}
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{name}": value for name, value in state.items()}
        tensors["random/cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random/cuda"] = torch.cuda.get_rng_state(self.device)
        content = to_bytes({name: value.contiguous().cpu() for name, value in tensors.items()})
        path = self._path(history)
        with replacing(path) as part:
            part.write_bytes(content)
        facts = Facts(
            fingerprint=self.fingerprint,
            history=history,
            scaler=scaler.state_dict(),
            sha256=hashlib.sha256(content).hexdigest(),
        )
        write_json(self.folder / FACTS, facts.model_dump())
        for older in self.folder.glob("*.safetensors"):
            if older != path:
                older.unlink()

    def _read(self) -> tuple[bytes, bytes]:
        """Return the content of both files, or b"" for both if one is missing, damaged or of another training."""
        path = self.folder / FACTS
        if not path.is_file():
            return b"", b""
        try:
            content = path.read_bytes()
            facts = Facts.model_validate_json(content)
            tensors = self._path(facts.history).read_bytes()
            if hashlib.sha256(tensors).hexdigest() != facts.sha256:
                raise ValueError("wrong checksum")
            from_bytes(tensors)
        except (OSError, ValueError, ValidationError, SafetensorError):
            return self._discard("is damaged")
        if other := _differences(facts.fingerprint, self.fingerprint):
            return self._discard(f"is of other {other}")
        return content, tensors

    def _discard(self, why: str) -> tuple[bytes, bytes]:
        print(f"{self.title}: the unfinished training in {self.folder} {why}; starting anew", flush=True)
        return b"", b""

    def _path(self, history: list[Metrics]) -> Path:
        return self.folder / f"epoch{len(history)}.safetensors"


def fingerprint(
    network: nn.Module, train: PackedSplit, device: torch.device, settings: Mapping[str, Any]
) -> dict[str, str]:
    """Return, by name, a summary of everything that determines the bytes of a trained network.

    Args:
        network: as it is before training.
        train: the training images; all labels and SAMPLE images are hashed.
        device: where to train; the numbers of threads and processes are included.
        settings: JSON values, by the names that they get in the result.
    """
    sample = np.linspace(0, len(train.labels) - 1, SAMPLE).astype(int)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    return {
        "initial weights": _digest(_bytes(value) for value in network.state_dict().values()),
        "random numbers": _digest([_bytes(torch.get_rng_state())]),
        "images": _digest(
            [str(train.images.shape).encode(), np.unique(sample).tobytes(), train.images[sample].tobytes()]
        ),
        "labels": _digest([train.labels.tobytes()]),
        "code": _digest(path.read_bytes() for path in code()),
        "packages": " ".join(f"{package} {version(package)}" for package in PACKAGES),
        "device": f"{device.type} {name}, {torch.get_num_threads()} threads, {distributed.processes()} processes",
        **{name: json.dumps(value) for name, value in settings.items()},
    }


def code() -> list[Path]:
    """Return the files of CODE."""
    places = [Path(__file__).parents[1] / name for name in CODE]
    return sorted(file for place in places for file in (place.rglob("*.py") if place.is_dir() else [place]))


def _same_everywhere(mine: dict[str, str], device: torch.device) -> None:
    main: dict[str, str] = json.loads(distributed.from_main(json.dumps(mine).encode(), device))
    if other := _differences(main, mine):
        raise ValueError(f"process {distributed.rank()} has other {other} than process 0; all need the same")


def _differences(a: dict[str, str], b: dict[str, str]) -> str:
    return ", ".join(name for name in {**a, **b} if a.get(name) != b.get(name))


def _group(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}/"): value for name, value in tensors.items() if name.startswith(f"{prefix}/")}


def _bytes(value: Tensor) -> bytes:
    return value.detach().cpu().contiguous().numpy().tobytes()


def _digest(parts: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()
