"""Predictions as targets, and losses against them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from supercm_pl.precision import math_dtype


def probabilities(logits: Tensor) -> Tensor:
    """Softmax of logits ``(N, K)`` as a target: without gradient, and in float32 at least."""
    logits = logits.detach()
    return logits.to(math_dtype(logits)).softmax(dim=1)


def sharpen(probabilities: Tensor, temperature: float) -> Tensor:
    r"""Make distributions more certain, :math:`p_k^{1/T} / \sum_l p_l^{1/T}`.

    Args:
        probabilities: ``(N, K)``, each row sums to 1.
        temperature: ``T > 0``; below 1 sharpens.

    Returns:
        ``(N, K)``, each row sums to 1.

    Example:
        >>> sharpen(torch.tensor([[0.6, 0.2, 0.2]]), temperature=0.5).tolist()[0][0] > 0.8
        True
    """
    # In logarithms, where no power underflows to a row of zeros.
    return (probabilities.log() / temperature).softmax(dim=1)


def align(probabilities: Tensor, current: Tensor, target: Tensor) -> Tensor:
    r"""Distribution alignment: :math:`\mathrm{Normalize}(p \cdot \text{target} / \text{current})`.

    Args:
        probabilities: ``(N, K)``, each row sums to 1.
        current: ``(K,)``, their mean so far.
        target: ``(K,)``, the mean that they should have.

    Returns:
        ``(N, K)``, each row sums to 1.

    Example:
        >>> p = torch.tensor([[0.6, 0.4]])
        >>> align(p, current=torch.tensor([0.75, 0.25]), target=torch.tensor([0.5, 0.5]))
        tensor([[0.3333, 0.6667]])
    """
    # The small number avoids a division by 0 for a class that is hardly ever predicted.
    scaled = probabilities * ((target + 1e-6) / (current + 1e-6))
    return scaled / scaled.sum(dim=1, keepdim=True)


def one_hot(labels: Tensor, num_classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Distributions ``(N, K)`` of labels ``(N,)``, without synchronizing with the device."""
    zeros = torch.zeros(len(labels), num_classes, dtype=dtype, device=labels.device)
    return zeros.scatter_(1, labels.unsqueeze(1), 1.0)


def pseudo_label_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    r"""Weighted cross-entropy, :math:`\frac{1}{N} \sum_i w_i H(y_i, \mathrm{softmax}(z_i))`.

    Logits are ``(N, K)``; labels, int64, and weights, 0 below a threshold, are ``(N,)``.
    """
    return (weights * F.cross_entropy(logits, labels, reduction="none")).mean()


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    r"""Cross-entropy of logits and distributions ``(N, K)``, shape ``(N,)``.

    .. math:: -\sum_k t_k \log \mathrm{softmax}(z)_k
    """
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1)
