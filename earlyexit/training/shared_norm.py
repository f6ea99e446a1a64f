"""Batch norm over the whole batch, each process holding a part of it."""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from earlyexit.training.distributed import processes, total


def share_norms(network: nn.Module) -> None:
    """Replace each batch norm inside `network` by one over the whole batch, if there are several processes."""
    if processes() == 1:
        return
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(module, name, SharedBatchNorm(child))


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the parts of all processes, on any device: nn.SyncBatchNorm does not support the CPU.

    Args:
        norm: gives its weights and statistics to this one.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self._parameters, self._buffers, self.training = norm._parameters, norm._buffers, norm.training

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape; N may be 0 in some processes."""
        if not self.training or processes() == 1:
            return super().forward(x)
        mean, var, count = _statistics(x.detach())
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum or 0)
            self.running_var.lerp_(var * (count / (count - 1)), self.momentum or 0)
        y: Tensor = _Normalization.apply(x, self.weight, self.bias, mean, var, count, self.eps)  # type: ignore[no-untyped-call]
        return y


class _Normalization(torch.autograd.Function):
    """Batch norm with precomputed batch statistics; backward differentiates through them."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, count: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, (var + eps).rsqrt(), count)
        return F.batch_norm(x, mean, var, weight, bias, eps=eps) if len(x) else x.clone()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale, count = ctx.saved_tensors
        shape = (1, -1, 1, 1)
        centred = (x - mean.view(shape)) * scale.view(shape)
        wide = slope.to(centred.dtype)
        mine = torch.stack([wide.sum((0, 2, 3)), (wide * centred).sum((0, 2, 3))])
        means = total(mine) / count
        inner = wide - means[0].view(shape) - centred * means[1].view(shape)
        return (inner * (weight * scale).view(shape)).to(x.dtype), mine[1], mine[0], None, None, None, None


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and biased variance of each channel over all processes, and the number of values per channel."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    count = torch.full((1,), x.numel() // x.shape[1], dtype=torch.float64, device=x.device)
    mean = var = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
    if len(x):
        found = torch.var_mean(x, (0, 2, 3), correction=0)
        var, mean = found[0].double(), found[1].double()
    # In float64, so that the difference of squares is exact enough.
    sums = total(torch.cat([mean * count, (var + mean.square()) * count, count]))
    everything = sums[-1]
    mean, square = (sums[:-1] / everything).chunk(2)
    return mean.to(x.dtype), (square - mean.square()).clamp_min(0).to(x.dtype), everything.to(x.dtype)
