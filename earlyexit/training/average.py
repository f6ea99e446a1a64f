"""Averaged weights: the mean of the last steps' weights, which depends less on the seed than the last ones do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

_Tensors = tuple[Tensor, ...] | list[Tensor]


class Average:
    """An exponential moving average of a model's weights and batch norm statistics (Polyak and Juditsky, 1992).

    Args:
        model: that is trained.
        decay: share of the average that a step keeps, below 1; 0: there is no average, the last weights count. The
            first steps keep less, (1 + n) / (10 + n) after n of them, so that a short training forgets its start too.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model, self._decay = model, decay
        self._averaged = AveragedModel(model, multi_avg_fn=self._step, use_buffers=True) if decay else None

    def update(self) -> None:
        """Take the weights of one more step into the average."""
        if self._averaged:
            self._averaged.update_parameters(self._model)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the model the averaged weights inside the `with` block."""
        if self._averaged is None:
            yield
            return
        last = {name: value.clone() for name, value in self._model.state_dict().items()}
        self.keep()
        yield
        self._model.load_state_dict(last)

    def keep(self) -> None:
        """Give the model the averaged weights for good."""
        if self._averaged:
            self._model.load_state_dict(self._averaged.module.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the average; empty without one."""
        return self._averaged.state_dict() if self._averaged else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        if self._averaged:
            self._averaged.load_state_dict(state)

    @torch.no_grad()
    def _step(self, averaged: _Tensors, current: _Tensors, count: Tensor | int) -> None:
        assert self._averaged is not None
        n = int(self._averaged.n_averaged)  # the same number as `count`, which is on the GPU
        decay = min(self._decay, (1 + n) / (10 + n))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, 1 - decay)
        else:  # batch norm's count of batches
            torch._foreach_copy_(averaged, current)
