"""Sums, means and samples over the ranks of the default process group."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def is_distributed() -> bool:
    """Whether the run has more than one rank."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def world_size() -> int:
    """Return the number of ranks of the run; 1 without a process group."""
    return dist.get_world_size() if is_distributed() else 1


def rank() -> int:
    """Return the number of this rank; 0 without a process group."""
    return dist.get_rank() if is_distributed() else 0


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Sum a tensor of the same shape over all ranks, in one all-reduce.

    Every rank must call this in the same order, and run backward if any rank does. With one
    process, or without a process group, it returns the tensor itself.

    The gradient is the *sum* of the ranks' gradients, which `DistributedDataParallel` averages.
    With W ranks the objective is mean_s L_s, and every L_s depends on the shared sum S. The
    gradient of a parameter θ, from which rank r computes its summand S_r, is therefore

        1/W · Σ_r (Σ_s ∂L_s/∂S) · ∂S_r/∂θ.

    This function computes the inner sum, and the averaging the outer mean.

    Args:
        tensor: Any floating-point tensor; it does not change.

    Returns:
        A tensor like `tensor`, the same on every rank.
    """
    if not is_distributed():
        return tensor
    total: Tensor = _SumOverRanks.apply(tensor)
    return total


def mean_over_ranks(values: Tensor) -> Tensor:
    """Average ``(N, M)`` over the samples of all ranks, ``(M,)``, by one all-reduce with gradients.

    N may differ between ranks.
    """
    total = sum_over_ranks(torch.cat([values.sum(dim=0), values.new_full((1,), len(values))]))
    return total[:-1] / total[-1].clamp(min=1)


def gather_over_ranks(rows: Tensor) -> Tensor:
    """Concatenate the samples of all ranks, without a gradient; their numbers may differ.

    Every rank must call this in the same order, with a shape (N, ...) that differs only in N. The
    result, in the order of the ranks, is the same on every rank. With several ranks, it waits for
    the device: a collective of unequal shapes would mix up their values without an error.
    """
    rows = rows.detach()
    if not is_distributed():
        return rows
    counts = _all_gathered(torch.tensor([len(rows)], device=rows.device))
    numbers = torch.cat(counts).tolist()
    missing = max(numbers) - len(rows)
    parts = _all_gathered(torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])]))
    return torch.cat([part[:n] for part, n in zip(parts, numbers, strict=True)])


def _all_gathered(tensor: Tensor) -> list[Tensor]:
    parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, tensor)
    return parts


def gather_objects(thing: Any) -> list[Any]:
    """Collect an object that pickle can copy of every rank on all ranks, in their order.

    Every rank must call this in the same order. With one process, the list has the object itself.
    """
    if not is_distributed():
        return [thing]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, thing)
    return found


def rows_per_rank(*counts: int, device: torch.device) -> tuple[float | Tensor, ...]:
    """Average sample counts over the ranks, in one all-reduce of a few integers.

    Dividing the sum S_r over the n_r samples of a rank by this average gives the mean over the
    samples of all W ranks, once `DistributedDataParallel` averages the gradients:

        1/W · Σ_r S_r / (1/W · Σ_s n_s) = Σ_r S_r / Σ_s n_s.

    Every rank must call this in the same order, with the same number of counts.

    Args:
        counts: Sample counts of this rank, 0 or more.
        device: Device of the samples; it is not synchronized.

    Returns:
        The averages, above 0 even if no rank has a sample. They are scalar tensors, the same on
        every rank, or floats with one process or without a process group.

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
