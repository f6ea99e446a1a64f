"""The training loop: AdamW under a one-cycle schedule on the weighted loss of all classifiers (Eq. 1)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor, nn
from tqdm import tqdm

from earlyexit.training import distributed
from earlyexit.training.average import Average
from earlyexit.training.batches import Batch, Batches
from earlyexit.training.distillation import Distillation
from earlyexit.training.losses import weighted_loss
from earlyexit.training.recipe import Precision, Recipe
from earlyexit.training.resume import Metrics, Unfinished

WARM_UP = 0.2  # share of the steps in which the learning rate rises

Log = Callable[[int, Metrics], None]


def fit(
    model: nn.Module,
    batches: Batches,
    recipe: Recipe,
    weights: Sequence[float],
    *,
    distillation: Distillation | None = None,
    names: Sequence[str],
    monitor: Callable[[], Metrics],
    log: Log,
    title: str,
    device: torch.device,
    precision: Precision = "float32",
    unfinished: Unfinished | None = None,
) -> Metrics:
    """Train `model` to lower the weighted loss of its classifiers; return the last epoch's metrics.

    With 0 epochs, nothing is trained, and the metrics of `monitor` are logged as epoch 0.

    Args:
        model: maps a batch's inputs to the logits of each classifier.
        batches: of the training images.
        recipe: epochs, learning rate, weight decay.
        weights: of the loss, one per classifier (Eq. 1).
        distillation: the teachers, if there are any.
        names: of the classifiers.
        monitor: returns held-out metrics, of averaged weights if the recipe averages; called after each epoch. They
            are logged, and nothing is chosen by them.
        log: called with each epoch's number, from 1, and its metrics; after an interruption, also for earlier epochs.
        title: section of params.yaml, for the progress bar and messages.
        device: where the model is.
        precision: of the forward pass and the loss (autocast).
        unfinished: keeps the state after each epoch, from which an interrupted training goes on.

    Raises:
        ValueError: the loss or a weight became NaN or infinite; names epoch, batch, rate and the param to lower.
    """
    if recipe.epochs == 0:
        metrics = monitor()
        log(0, metrics)
        return metrics
    cast = autocast(precision, device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    scaler = torch.amp.GradScaler("cuda", enabled=precision == "float16")
    average = Average(model, recipe.average)
    history = unfinished.restore(model, optimizer, scaler, average) if unfinished else []
    for epoch, metrics in enumerate(history, 1):
        log(epoch, metrics)
    done = len(history)
    if history and distributed.is_main():
        what = f"going on from epoch {done + 1} of {recipe.epochs}" if done < recipe.epochs else "trained already"
        print(f"{title}: {what}", flush=True)
    step = Step(distributed.shared(model, weights), weights, distillation, optimizer, scaler, cast, average)
    steps = len(batches)
    with distributed.progress(desc=title, unit="batch", total=recipe.epochs * steps, initial=done * steps) as bar:
        for epoch in range(done + 1, recipe.epochs + 1):
            losses, right, count = _epoch(step, batches, epoch, recipe, bar)
            check_finite(model, losses, epoch, recipe, title, unfinished)
            metrics = {"train/loss": float(losses.sum()) / count, **accuracies("train", names, right, count)}
            with average.in_place():
                metrics |= monitor()
            history.append(metrics)
            if unfinished:
                unfinished.save(model, optimizer, scaler, average, history)
            log(epoch, metrics)
            bar.set_postfix({name: f"{metrics[f'train/{name}']:.3f}" for name in names})
    average.keep()
    return history[-1]


def one_cycle(step: int, steps: int) -> float:
    """Return the share of the peak learning rate at `step` of `steps`: up linearly over a fifth, down a cosine to 0."""
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return (step + 1) / rise
    return (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) / 2


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """Return the context in which matrix products and convolutions are computed in `precision`.

    Raises:
        ValueError: float16 without a GPU; its gradients need a scaler, which torch does not have for the CPU.
    """
    if precision == "float16" and device.type != "cuda":
        raise ValueError(f"train.precision: float16 needs a CUDA device, not {device.type}; use bfloat16 or float32")
    dtype = torch.float16 if precision == "float16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=precision != "float32")


def accuracies(split: str, names: Sequence[str], right: Tensor, count: int) -> Metrics:
    """Return the accuracy of each classifier over all processes.

    Args:
        split: for the metrics' names, "split/classifier".
        names: of the classifiers.
        right: how many images of this process each of them classified correctly, (classifiers,).
        count: images of all processes.
    """
    hits = distributed.total(right).tolist()
    return {f"{split}/{name}": n / count for name, n in zip(names, hits, strict=True)}


@dataclass(frozen=True)
class Step:
    """One step of the optimizer."""

    model: nn.Module
    weights: Sequence[float]
    distillation: Distillation | None
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    cast: torch.autocast
    average: Average

    def __call__(self, batch: Batch, rate: float) -> tuple[Tensor, Tensor]:
        """Return the batch's loss, and how many images each classifier had right; both stay on the device."""
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.zero_grad()
        with self.cast:
            logits = [_wide(z) for z in self.model(batch.inputs)]
            loss = self._loss(logits, batch)
        # Each process has its part of the loss, and DistributedDataParallel takes the mean of the gradients.
        self.scaler.scale(loss * distributed.processes()).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update()
        return loss.detach(), torch.stack([(z.detach().argmax(1) == batch.labels).sum() for z in logits])

    def _loss(self, logits: Sequence[Tensor], batch: Batch) -> Tensor:
        if self.distillation is None:
            return weighted_loss(logits, batch.labels, self.weights, count=batch.size)
        taught = [(share, _wide(answers)) for share, answers in self.distillation.taught(batch)]
        temperature = self.distillation.temperature
        return weighted_loss(logits, batch.labels, self.weights, taught, temperature, batch.size)


def _epoch(
    step: Step, batches: Batches, epoch: int, recipe: Recipe, bar: "tqdm[NoReturn]"
) -> tuple[Tensor, Tensor, int]:
    """Return each batch's loss times its images, how many images each classifier had right, and of how many."""
    # All stays on the device until the epoch ends: reading a value would wait for it.
    losses, hits, count = [], [], 0
    first, steps = (epoch - 1) * len(batches), recipe.epochs * len(batches)
    for number, batch in enumerate(batches.epoch(epoch), first):
        loss, right = step(batch, recipe.learning_rate * one_cycle(number, steps))
        losses.append(loss * batch.size)
        hits.append(right)
        count += batch.size
        bar.update()
    return distributed.total(torch.stack(losses)), torch.stack(hits).sum(0), count


def check_finite(
    model: nn.Module, losses: Tensor, epoch: int, recipe: Recipe, title: str, unfinished: Unfinished | None
) -> None:
    """Raise ValueError if a loss or a weight is NaN or infinite, before the epoch is logged or kept."""
    if bad := (~losses.isfinite()).nonzero().flatten().tolist():
        rate = recipe.learning_rate * one_cycle((epoch - 1) * len(losses) + bad[0], recipe.epochs * len(losses))
        where = f"the loss is not finite in epoch {epoch}, batch {bad[0] + 1} of {len(losses)}, at rate {rate:.2g}"
    elif names := [name for name, value in model.state_dict().items() if not value.isfinite().all()]:
        where = f"NaN or infinite weights after epoch {epoch}: {names[0]}" + (", ..." if len(names) > 1 else "")
    else:
        return
    kept = (
        f"; epoch {epoch - 1} is kept in {unfinished.folder}, and reused only if no param changes" if unfinished else ""
    )
    raise ValueError(f"{title}: {where}; lower {title}.learning_rate{kept if epoch > 1 else ''}")


def _wide(logits: Tensor) -> Tensor:
    """Return `logits` in float32 or wider: softmax and logarithm need it."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
