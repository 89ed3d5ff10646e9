"""Deep CORAL: match the domains' covariances."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from supercm_pl.checks import check_matrix
from supercm_pl.distributed import sum_over_ranks
from supercm_pl.precision import full_precision, math_dtype
from supercm_pl.training.method import Ramp
from supercm_pl.uda.components.layers import Layer, LayerMethod


def coral(source: Tensor, target: Tensor) -> Tensor:
    r"""Squared distance of two domains' covariances.

    .. math::
        \frac{1}{4 d^2} \|C_s - C_t\|_F^2, \qquad
        C_s = \frac{1}{N_s - 1} \sum_i (s_i - \bar s)(s_i - \bar s)^\top

    With several ranks, means and covariances are those of the samples of all ranks, and every rank
    has to call this. The covariance of a single sample is 0.

    Args:
        source: Shape (N_s, d), any floating-point dtype.
        target: Shape (N_t, d).

    Returns:
        A scalar in float32 or, for float64 inputs, float64, also under autocast.

    Raises:
        TypeError: If an input is not a floating-point tensor.
        ValueError: If the shapes do not match.

    Example:
        >>> source, target = torch.tensor([[-1.0], [1.0]]), torch.tensor([[1.0], [5.0]])
        >>> coral(source, target)  # (2 - 8)² / 4
        tensor(9.)
    """
    check_matrix("source", source, ("N_s", None), ("d", None))
    num_features = source.shape[1]
    check_matrix("target", target, ("N_t", None), ("d", num_features))
    dtype = torch.promote_types(math_dtype(source), math_dtype(target))
    source, target = source.to(dtype), target.to(dtype)
    with full_precision(source.device):
        counts = torch.cat([source.new_full((1,), len(part)) for part in (source, target)])
        sums = torch.cat([source.sum(dim=0), target.sum(dim=0)])
        totals = sum_over_ranks(torch.cat([sums, counts]))
        sums, counts = totals[:-2].view(2, num_features), totals[-2:]
        means = sums / counts.clamp(min=1.0)[:, None]
        freedom = (counts - 1.0).clamp(min=1.0)
        # Centered first: Σ x xᵀ − N x̄ x̄ᵀ would lose the digits of means far from 0.
        source, target = source - means[0], target - means[1]
        gap = source.T @ source / freedom[0] - target.T @ target / freedom[1]
        return sum_over_ranks(gap).square().sum() / (4 * num_features**2)


class DeepCORAL(LayerMethod):
    r"""Distance of the covariances of source and target, see :func:`.coral`, summed over layers.

    Sun and Saenko, *Deep CORAL: Correlation Alignment for Deep Domain Adaptation* (ECCV workshops
    2016). The paper aligns the logits, and chooses the weight so that at the end of training this
    loss and the cross-entropy are about the same.
    """

    def __init__(
        self,
        *,
        layers: Sequence[Layer] = ("logits",),
        weight: float = 1.0,
        ramp: Ramp | float | None = None,
    ) -> None:
        super().__init__(layers=layers, weight=weight, ramp=ramp)

    def distance(self, source: Tensor, target: Tensor) -> Tensor:
        """:func:`.coral` of source ``(N_s, d)`` and target ``(N_t, d)``."""
        return coral(source, target)
