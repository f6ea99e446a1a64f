"""Training by several processes (torchrun): each takes its part of every batch, and all hold the same weights.

The result is that of one process, up to rounding: the order of the images, their augmentation, the statistics of batch
norm, the loss and the gradient are those of the whole batch. Without torchrun there is one process, and nothing is
exchanged.
"""

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from earlyexit.common.pool import end_with_parent

INTERRUPTED = 130  # exit status of a stage after Ctrl-C or SIGTERM


def launch(module: str, processes: int, *arguments: str) -> bool:
    """Run `python -m module arguments` in several processes on this machine, and wait for them.

    Returns:
        whether that was done. False: this process has to do the work, as the only one or as one that torchrun started.

    Raises:
        ValueError: a process failed; holds its error, or the end of its traceback.
    """
    if processes == 1 or _under_torchrun():
        return False
    with tempfile.TemporaryDirectory() as logs:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=module,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=logs, redirects=Std.ERR),
            shutdown_timeout=5,
        )
        logging.disable(logging.ERROR)  # torchrun's own report of a failure
        try:
            elastic_launch(config, sys.executable)("-m", module, *arguments)
        except SignalException:
            raise KeyboardInterrupt from None
        except ChildFailedError as error:
            raise ValueError(_cause(error.failures, Path(logs))) from None
        finally:
            logging.disable(logging.NOTSET)
    return True


def join(device: torch.device) -> torch.device:
    """Connect to the other processes, if torchrun started this one; return the device of this process.

    Raises:
        ValueError: there are fewer GPUs than processes, or `device` names a single GPU.
    """
    if not _under_torchrun():
        return device
    _end_with_launcher()
    if device.type != "cuda":
        dist.init_process_group("gloo")
        return device
    local, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if ":" in str(device):
        raise ValueError(f"train.device: {str(device)!r} names one GPU, and each process takes its own; write cuda")
    if local >= there:
        raise ValueError(f"train.processes: more than the {there} GPUs of this machine")
    device = torch.device("cuda", local)
    torch.cuda.set_device(device)
    dist.init_process_group("nccl", device_id=device)
    return device


def leave() -> None:
    """Disconnect from the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def processes() -> int:
    """Return how many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def processes_here() -> int:
    """Return how many processes share this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if dist.is_initialized() else 1


def is_main() -> bool:
    """Return whether this is the process that writes and prints."""
    return rank() == 0


def progress(**settings: Any) -> "tqdm[NoReturn]":
    """Return a progress bar of the main process; on stdout under torchrun, where stderr is kept for errors."""
    file = sys.stderr if processes() == 1 else sys.stdout
    return tqdm(mininterval=1, disable=not is_main(), file=file, **settings)


def part(count: int) -> tuple[int, int]:
    """Return first and end of this process's part of `count` rows; the sizes of parts differ by at most one."""
    return count * rank() // processes(), count * (rank() + 1) // processes()


def total(values: Tensor) -> Tensor:
    """Return the sum of `values` over all processes."""
    if processes() > 1:
        values = values.clone()
        dist.all_reduce(values)
    return values


def largest(values: Tensor) -> Tensor:
    """Return the largest of each of `values` over all processes."""
    if processes() > 1:
        values = values.clone()
        dist.all_reduce(values, dist.ReduceOp.MAX)
    return values


def from_main(content: bytes, device: torch.device) -> bytes:
    """Return `content` of the main process."""
    if processes() == 1:
        return content
    size = torch.tensor([len(content)], device=device)
    dist.broadcast(size, 0)
    buffer = torch.zeros(int(size), dtype=torch.uint8)
    if is_main():
        buffer = torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else buffer
    buffer = buffer.to(device)
    dist.broadcast(buffer, 0)
    return buffer.cpu().numpy().tobytes()


def shared(model: nn.Module, weights: Sequence[float]) -> nn.Module:
    """Return `model` with gradients that are the mean over all processes; classifiers with weight 0 get none."""
    if processes() == 1:
        return model
    unused = not all(weights)
    model = _Weighted(model, weights) if unused else model
    return DistributedDataParallel(model, broadcast_buffers=False, find_unused_parameters=unused)


class _Weighted(nn.Module):
    """A model whose outputs with weight 0 are detached: DistributedDataParallel must know that they get no gradient."""

    def __init__(self, model: nn.Module, weights: Sequence[float]) -> None:
        super().__init__()
        self.model, self.weights = model, weights

    def forward(self, inputs: Any) -> list[Tensor]:
        return [z if weight > 0 else z.detach() for z, weight in zip(self.model(inputs), self.weights, strict=True)]


def _under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _end_with_launcher() -> None:
    """End this process on the launcher's SIGTERM, even while it waits for others, and when the launcher is killed."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent(signal.SIGKILL)


def _cause(failures: dict[int, ProcessFailure], logs: Path) -> str:
    """Return the message of the process that failed first."""
    said = {rank: _stderr(logs, rank) for rank in failures}
    rank = min(failures, key=lambda rank: _blame(failures[rank], said[rank]))
    return f"process {rank}: {_message(failures[rank], said[rank])}"


def _stderr(logs: Path, rank: int) -> str:
    return "\n".join(path.read_text(errors="replace") for path in logs.glob(f"*/attempt_0/{rank}/stderr.log"))


def _blame(failure: ProcessFailure, said: str) -> int:
    """Return a rank of causes, the likeliest lowest: killed, an error, a lost connection, ended by torchrun."""
    if failure.exitcode in (-signal.SIGTERM, INTERRUPTED):
        return 3
    if failure.exitcode < 0:
        return 0
    return 1 if _error(said) else 2


def _message(failure: ProcessFailure, said: str) -> str:
    if failure.exitcode < 0:
        return f"ended by {failure.signal_name()}"
    if os.environ.get("EARLYEXIT_TRACEBACK"):
        return said
    return _error(said) or (said.split() and said.strip().splitlines()[-1]) or "no message"


def _error(said: str) -> str:
    """Return the line in which a stage reports an error that a user can correct; empty if there is none."""
    return f"\n{said}".partition("\nerror: ")[2].strip()
