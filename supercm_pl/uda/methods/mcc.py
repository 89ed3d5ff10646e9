"""Minimum class confusion: let no two classes share a target sample's prediction."""

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

    No gradient goes through the weights. As rows of ``p`` sum to 1, :math:`\sum_l C_{kl} = \sum_i
    w_i p_{ik}`, and the weights' denominator cancels, so that 2K sums are all that is needed; where
    `torch.distributed` runs with several ranks, they are over the rows of all ranks, and every rank
    has to call this.

    Args:
        logits: Shape (N, K), any floating-point dtype.
        temperature: ``T > 0``.

    Returns:
        A scalar in float32 or, for float64 logits, float64.

    Raises:
        TypeError: If logits are not a floating-point tensor, or the temperature is not a number.
        ValueError: If a shape or a value is out of range.

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
    # A class that no sample has a share of is as confused as can be, not 0 / 0.
    least = torch.finfo(row_sums.dtype).tiny
    return 1.0 - (diagonal / row_sums.clamp(min=least)).mean()


class MCC(Method):
    """Class confusion of the target's predictions.

    Jin, Wang, Long, Wang, *Minimum Class Confusion for Versatile Domain Adaptation* (ECCV 2020);
    see :func:`.class_confusion`. It looks at the target alone.

    Over several ranks the confusion is that of all ranks' rows.

    Args:
        weight: Weight of the term, ``>= 0``.
        ramp: How the weight grows over training.
        temperature: ``T > 0``; the paper's is 2.5.

    Raises:
        TypeError: If the temperature is not a number.
        ValueError: If a value is out of range.
    """

    step_type = UDAStep

    def __init__(
        self, weight: float = 1.0, ramp: Ramp | None = None, *, temperature: float = 2.5
    ) -> None:
        super().__init__(weight=weight, ramp=ramp)
        self.temperature = check_positive("temperature", temperature)

    def forward(self, step: UDAStep) -> MethodLoss:
        """The confusion of this step's target rows."""
        return MethodLoss(class_confusion(step.target.logits, self.temperature))
