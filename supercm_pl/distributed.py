"""Sums over the ranks of the default process group, and rows of all of them."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def is_distributed() -> bool:
    """Tell whether more than one rank takes part in this run."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def world_size() -> int:
    """Number of ranks that take part in this run; 1 without a process group."""
    return dist.get_world_size() if is_distributed() else 1


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Sum a tensor of the same shape over all ranks, in one all-reduce.

    Every rank has to call this, in the same order, and has to run backward if any rank does.
    With one process, or without a process group, the tensor comes back as it is.

    The gradient is the *sum* of the ranks' gradients. This is right under the averaging of
    `DistributedDataParallel`: with W ranks the objective is mean_s L_s, and a shared sum S feeds
    every L_s, so a parameter θ that rank r uses to make its share S_r owes

        1/W · Σ_r (Σ_s ∂L_s/∂S) · ∂S_r/∂θ.

    The inner sum is made here, the outer mean by the averaging.

    Args:
        tensor: Any floating-point tensor; it is left unchanged.

    Returns:
        A tensor like `tensor`, the same on every rank.
    """
    if not is_distributed():
        return tensor
    total: Tensor = _SumOverRanks.apply(tensor)
    return total


def mean_over_ranks(values: Tensor) -> Tensor:
    """Mean over the samples of all ranks, in one all-reduce; gradients flow through.

    Args:
        values: Shape (N, M); N may differ from rank to rank.

    Returns:
        Shape (M,), the same on every rank.
    """
    total = sum_over_ranks(torch.cat([values.sum(dim=0), values.new_full((1,), len(values))]))
    return total[:-1] / total[-1].clamp(min=1)


def gather_over_ranks(rows: Tensor) -> Tensor:
    """Concatenate the rows of all ranks, in one all-gather, without a gradient.

    Every rank has to call this, in the same order, with a tensor of the same shape. With one
    process, or without a process group, the tensor comes back as it is.

    Args:
        rows: Shape (N, ...), any dtype; it is left unchanged.

    Returns:
        Shape (W·N, ...) with W ranks, in the order of the ranks, the same on every rank.
    """
    if not is_distributed():
        return rows.detach()
    rows = rows.detach().contiguous()
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows)
    return torch.cat(parts)


def rows_per_rank(*counts: int, device: torch.device) -> tuple[float | Tensor, ...]:
    """Average over the ranks of numbers of rows, in one all-reduce of a few integers.

    A rank that divides the sum S_r over its own n_r rows by this has the mean over the rows of all
    W ranks once the ranks are averaged, as `DistributedDataParallel` averages gradients, however
    unevenly the rows are spread over them, and also where a rank has none:

        1/W · Σ_r S_r / (1/W · Σ_s n_s) = Σ_r S_r / Σ_s n_s.

    Every rank has to call this, in the same order, with as many numbers.

    Args:
        counts: Numbers of rows of this rank, 0 or more.
        device: Of the rows; it is not waited for.

    Returns:
        For each number the average, above 0 also where no rank has a row. Scalar tensors, the same
        on every rank; with one process, or without a process group, plain numbers.

    Example:
        >>> rows_per_rank(4, 0, device=torch.device("cpu"))
        (4.0, 1.0)
    """
    if not is_distributed():
        return tuple(float(max(count, 1)) for count in counts)
    total = torch.stack([torch.full((), count, device=device) for count in counts])
    dist.all_reduce(total)
    return (total.clamp(min=1) / dist.get_world_size()).unbind()


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return sum_over_ranks(gradient)
