"""Minimum class confusion: no two classes should share a target sample's prediction."""

from __future__ import annotations

import torch
from torch import Tensor

from supercm_pl.checks import check_matrix, check_positive
from supercm_pl.distributed import sum_over_ranks
from supercm_pl.precision import math_dtype
from supercm_pl.training.method import Method, MethodLoss, Ramp
from supercm_pl.uda.step import UDAStep


def class_confusion(logits: Tensor, temperature: float = 2.5) -> Tensor:
    r"""Mean confusion of a class with the others, in [0, 1 − 1/K].

    With :math:`p_i = \mathrm{softmax}(z_i / T)` and its entropy :math:`H_i`,

    .. math::
        w_i = \frac{N (1 + e^{-H_i})}{\sum_j (1 + e^{-H_j})}, \qquad
        C_{kl} = \sum_i w_i\, p_{ik}\, p_{il}, \qquad
        \frac{1}{K} \sum_k \sum_{l \ne k} \frac{C_{kl}}{\sum_m C_{km}}.

    No gradient goes through the weights. As each ``p_i`` sums to 1, :math:`\sum_l C_{kl} = \sum_i
    w_i p_{ik}`, and the denominator of the weights cancels: 2K sums are enough. With several
    ranks, they are over the samples of all ranks, and every rank has to call this.

    Args:
        logits: Shape (N, K), any floating-point dtype.
        temperature: ``T > 0``.

    Returns:
        A scalar in float32 or, for float64 logits, float64.

    Raises:
        TypeError: If logits are not a floating-point tensor, or the temperature is not a number.

    Example:
        >>> class_confusion(torch.tensor([[99.0, 0.0], [0.0, 99.0]]))
        tensor(0.)
        >>> class_confusion(torch.zeros(4, 2))
        tensor(0.5000)
    """
    check_matrix("logits", logits, ("N", None), ("K", None))
    check_positive("temperature", temperature)
    log_probabilities = torch.log_softmax(logits.to(math_dtype(logits)) / temperature, dim=1)
    probabilities = log_probabilities.exp()
    entropies = -(probabilities * log_probabilities).detach().sum(dim=1, keepdim=True)
    weighted = (1.0 + torch.exp(-entropies)) * probabilities
    sums = torch.cat([(weighted * probabilities).sum(dim=0), weighted.sum(dim=0)])
    diagonal, row_sums = sum_over_ranks(sums).chunk(2)
    # A class without any probability has the largest confusion, not 0 / 0.
    least = torch.finfo(row_sums.dtype).tiny
    return 1.0 - (diagonal / row_sums.clamp(min=least)).mean()


class MCC(Method):
    """Class confusion of the target's predictions; see :func:`.class_confusion`.

    Jin, Wang, Long, Wang, *Minimum Class Confusion for Versatile Domain Adaptation* (ECCV 2020).
    It uses the target only. With several ranks the confusion is that of all ranks' samples.

    Args:
        temperature: ``T > 0``; the paper's is 2.5.
    """

    step_type = UDAStep

    def __init__(
        self, *, temperature: float = 2.5, weight: float = 1.0, ramp: Ramp | float | None = None
    ) -> None:
        super().__init__(weight=weight, ramp=ramp)
        self.temperature = check_positive("temperature", temperature)

    def forward(self, step: UDAStep) -> MethodLoss:
        """Return the confusion of the target samples."""
        return MethodLoss(class_confusion(step.target.logits, self.temperature))
