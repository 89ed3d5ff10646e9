"""Sums over the ranks of the default process group, and rows of all of them."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def is_distributed() -> bool:
    """Tell whether more than one rank takes part in this run."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


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


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return sum_over_ranks(gradient)
