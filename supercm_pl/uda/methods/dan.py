"""Deep adaptation networks: match the domains' mean embeddings under several kernels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from supercm_pl.training.method import Method, MethodLoss, Ramp
from supercm_pl.uda.methods._kernels import (
    MULTIPLES,
    Estimator,
    Kernel,
    check_estimator,
    embedding_distance,
)
from supercm_pl.uda.methods._layers import Layer, check_layers, outputs_of
from supercm_pl.uda.step import UDAStep


def mmd(
    source: Tensor,
    target: Tensor,
    *,
    multiples: Sequence[float] = MULTIPLES,
    bandwidth: float | None = None,
    estimator: Estimator = "linear",
) -> Tensor:
    r"""Squared maximum mean discrepancy under a sum of Gaussian kernels.

    With :math:`k(x, y) = \sum_u \exp(-\|x - y\|^2 / (m_u \gamma))`, it estimates

    .. math::
        \mathrm{E}\, k(s, s') + \mathrm{E}\, k(t, t') - 2\, \mathrm{E}\, k(s, t).

    The estimators (Gretton et al., *A Kernel Two-Sample Test*, JMLR 2012):

    - ``"biased"``: means over all pairs, a row with itself too. Never negative; 0 where source and
      target are the same rows.
    - ``"unbiased"``: means over all pairs of two rows. May be negative.
    - ``"linear"``: the mean of :math:`k(s_i, s_{i+1}) + k(t_i, t_{i+1}) - k(s_i, t_{i+1}) -
      k(s_{i+1}, t_i)`, where the row after the last is the first. Unbiased, with more variance; no
      matrix of pairs is made. With unequal numbers of rows the fewer go round again.

    The gradient does not go through the bandwidth.

    Args:
        source: Shape (N_s, d), any floating-point dtype.
        target: Shape (N_t, d).
        multiples: ``m_u > 0``.
        bandwidth: ``γ > 0``; ``None``: the mean of ``‖x − y‖²`` over all pairs of two rows of
            source and target together.
        estimator: ``"linear"``, ``"unbiased"`` or ``"biased"``. The first two need two rows of each
            domain.

    Returns:
        A scalar in float32 or, for float64 inputs, float64, whatever autocast says.

    Raises:
        TypeError: If an input is not a floating-point tensor, or a number is not a number.
        ValueError: If shapes do not fit together or a value is out of range.

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


class DAN(Method):
    r"""Multi-kernel maximum mean discrepancy of source and target, summed over layers.

    Long, Cao, Wang, Jordan, *Learning Transferable Features with Deep Adaptation Networks* (ICML
    2015): :math:`\sum_l \mathrm{MMD}^2(D_s^l, D_t^l)`, by the linear-time estimate. As in the
    authors' later code there are five kernels of equal weight, whose bandwidths are a quarter to
    four times the mean squared distance, and with ResNet-50 one layer, the bottleneck's features.
    The paper has 33 kernels around the median distance, weights their sum by a quadratic program,
    and aligns three layers, the logits among them.

    Over several ranks it is the mean of the ranks' discrepancies, each of the rank's own rows.

    Args:
        weight: Weight of the term, ``>= 0``.
        ramp: How the weight grows over training.
        layers: What is aligned: ``"features"``, ``"logits"`` or both.
        multiples: Of the mean squared distance, the kernels' bandwidths, ``> 0``.
        estimator: ``"linear"``, ``"unbiased"`` or ``"biased"``; see :func:`.mmd`.

    Raises:
        TypeError: If a multiple is not a number.
        ValueError: If a value is out of range.
    """

    step_type = UDAStep

    def __init__(
        self,
        weight: float = 1.0,
        ramp: Ramp | None = None,
        *,
        layers: Sequence[Layer] = ("features",),
        multiples: Sequence[float] = MULTIPLES,
        estimator: Estimator = "linear",
    ) -> None:
        super().__init__(weight=weight, ramp=ramp)
        Kernel(multiples).check()
        check_estimator(estimator)
        self.layers = check_layers(layers)
        self.multiples = tuple(multiples)
        self.estimator: Estimator = estimator

    def forward(self, step: UDAStep) -> MethodLoss:
        """The discrepancy of this step's rows."""
        discrepancies = [
            mmd(source, target, multiples=self.multiples, estimator=self.estimator)
            for source, target in outputs_of(step, self.layers)
        ]
        return MethodLoss(sum(discrepancies[1:], discrepancies[0]))
