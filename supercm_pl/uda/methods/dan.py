"""Deep adaptation networks: match the domains' mean embeddings under several kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from torch import Tensor

from supercm_pl.checks import check_choice
from supercm_pl.training.method import Ramp
from supercm_pl.uda.components.kernels import MULTIPLES, Estimator, Kernel, embedding_distance
from supercm_pl.uda.components.layers import Layer, LayerMethod


def mmd(
    source: Tensor,
    target: Tensor,
    *,
    multiples: Sequence[float] = MULTIPLES,
    bandwidth: float | None = None,
    estimator: Estimator = "unbiased",
) -> Tensor:
    r"""Squared maximum mean discrepancy under a sum of Gaussian kernels.

    With :math:`k(x, y) = \sum_u \exp(-\|x - y\|^2 / (m_u \gamma))`, it estimates

    .. math::
        \mathrm{E}\, k(s, s') + \mathrm{E}\, k(t, t') - 2\, \mathrm{E}\, k(s, t).

    The estimators (Gretton et al., *A Kernel Two-Sample Test*, JMLR 2012):

    - ``"biased"``: means over all pairs, a sample with itself too. Never negative; 0 where source
      and target are the same samples.
    - ``"unbiased"``: means over all pairs of distinct samples. May be negative.
    - ``"linear"``: the mean of :math:`k(s_i, s_{i+1}) + k(t_i, t_{i+1}) - k(s_i, t_{i+1}) -
      k(s_{i+1}, t_i)`, where the first sample follows the last. Unbiased, with more variance, and
      without a matrix of pairs. With unequal numbers of samples the smaller domain is repeated.

    Args:
        source: Shape (N_s, d), any floating-point dtype.
        target: Shape (N_t, d).
        multiples: ``m_u > 0``.
        bandwidth: ``γ > 0``; ``None``: the mean of ``‖x − y‖²`` over all pairs of distinct samples
            of both domains, without gradient.
        estimator: ``"linear"``, ``"unbiased"`` or ``"biased"``. The first two need two samples of
            each domain.

    Returns:
        A scalar in float32 or, for float64 inputs, float64, also under autocast.

    Example:
        >>> import torch
        >>> source, target = torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [2.0]])
        >>> mmd(source, target, estimator="biased")
        tensor(0.)
        >>> options = {"multiples": (1.0,), "bandwidth": 1.0}
        >>> mmd(source, target + 9.0, estimator="biased", **options)  # 1 + exp(-4)
        tensor(1.0183)
    """
    return embedding_distance([source], [target], [Kernel(multiples, bandwidth)], estimator)


class DAN(LayerMethod):
    r"""Multi-kernel maximum mean discrepancy of source and target, summed over layers.

    Long, Cao, Wang, Jordan, *Learning Transferable Features with Deep Adaptation Networks* (ICML
    2015): :math:`\sum_l \mathrm{MMD}^2(D_s^l, D_t^l)`. As in the authors' later code, it is
    estimated over all pairs, with five kernels of equal weight, whose bandwidths are a quarter to
    four times the mean squared distance, and with ResNet-50 on one layer, the bottleneck's
    features. The paper has the linear-time estimate, which varies more; 33 kernels around the
    median distance, whose weights a quadratic program finds; and three layers, the logits among
    them.

    With several ranks it is the mean of the ranks' discrepancies, each of the rank's own samples.

    Args:
        multiples: Bandwidths of the kernels, as multiples ``> 0`` of the mean squared distance.
        estimator: ``"linear"``, ``"unbiased"`` or ``"biased"``; see :func:`.mmd`.
    """

    def __init__(
        self,
        *,
        layers: Sequence[Layer] = ("features",),
        multiples: Sequence[float] = MULTIPLES,
        estimator: Estimator = "unbiased",
        weight: float = 1.0,
        ramp: Ramp | float | None = None,
    ) -> None:
        super().__init__(layers=layers, weight=weight, ramp=ramp)
        Kernel(multiples).check()
        self.multiples = tuple(multiples)
        self.estimator: Estimator = check_choice("estimator", estimator, get_args(Estimator))

    def distance(self, source: Tensor, target: Tensor) -> Tensor:
        """:func:`.mmd` of source ``(N_s, d)`` and target ``(N_t, d)``."""
        return mmd(source, target, multiples=self.multiples, estimator=self.estimator)
