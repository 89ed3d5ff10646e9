"""What methods make of their own predictions: targets, confidence, and means over all ranks."""

from __future__ import annotations

import torch
from torch import Tensor

from supercm_pl.distributed import sum_over_ranks


def probabilities(logits: Tensor) -> Tensor:
    """Softmax of logits ``(N, K)``, without a gradient and in float32 at least, as a target."""
    logits = logits.detach()
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=1)


def sharpen(probabilities: Tensor, temperature: float) -> Tensor:
    r"""Make distributions more certain, :math:`p_k^{1/T} / \sum_l p_l^{1/T}`.

    Args:
        probabilities: ``(N, K)``, rows sum to 1.
        temperature: ``T > 0``; below 1 sharpens.

    Returns:
        ``(N, K)``, rows sum to 1.

    Example:
        >>> sharpen(torch.tensor([[0.6, 0.2, 0.2]]), temperature=0.5).tolist()[0][0] > 0.8
        True
    """
    # In logarithms, where no power underflows to a row of zeros.
    return (probabilities.log() / temperature).softmax(dim=1)


def align(probabilities: Tensor, current: Tensor, target: Tensor) -> Tensor:
    r"""Distribution alignment: :math:`\mathrm{Normalize}(p \cdot \text{target} / \text{current})`.

    Args:
        probabilities: ``(N, K)``, rows sum to 1.
        current: ``(K,)``, what they are on average.
        target: ``(K,)``, what they should be on average.

    Returns:
        ``(N, K)``, rows sum to 1.

    Example:
        >>> p = torch.tensor([[0.6, 0.4]])
        >>> align(p, current=torch.tensor([0.75, 0.25]), target=torch.tensor([0.5, 0.5]))
        tensor([[0.3333, 0.6667]])
    """
    # A class that is hardly ever predicted must not be divided by 0.
    scaled = probabilities * ((target + 1e-6) / (current + 1e-6))
    return scaled / scaled.sum(dim=1, keepdim=True)


def one_hot(labels: Tensor, num_classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Distributions ``(N, K)`` of labels ``(N,)``, which the device need not be asked for."""
    zeros = torch.zeros(len(labels), num_classes, dtype=dtype, device=labels.device)
    return zeros.scatter_(1, labels.unsqueeze(1), 1.0)


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    r"""Cross-entropy with distributions, :math:`-\sum_k t_k \log \mathrm{softmax}(z)_k` per row.

    Args:
        logits: ``(N, K)``.
        targets: ``(N, K)``, rows sum to 1.

    Returns:
        ``(N,)``.
    """
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1)


def mean_over_ranks(rows: Tensor) -> Tensor:
    """Mean over the rows of all ranks, in one collective; gradients flow through.

    Args:
        rows: ``(N, M)``; another ``N`` on each rank will do.

    Returns:
        ``(M,)``, the same on every rank.
    """
    total = sum_over_ranks(torch.cat([rows.sum(dim=0), rows.new_full((1,), len(rows))]))
    return total[:-1] / total[-1].clamp(min=1)
