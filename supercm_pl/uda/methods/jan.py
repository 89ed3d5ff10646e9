"""Joint adaptation networks: match the domains' joint embeddings of features and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from torch import Tensor

from supercm_pl.checks import check_choice, check_positive
from supercm_pl.training.method import Method, MethodLoss, Ramp
from supercm_pl.uda.components.kernels import MULTIPLES, Estimator, Kernel, embedding_distance
from supercm_pl.uda.step import UDAStep


def jmmd(
    source: Sequence[Tensor],
    target: Sequence[Tensor],
    *,
    multiples: Sequence[Sequence[float]] = (MULTIPLES, (1.0,)),
    bandwidths: Sequence[float | None] = (None, 1.68),
    estimator: Estimator = "unbiased",
) -> Tensor:
    r"""Squared joint maximum mean discrepancy of several layers.

    It is :func:`~supercm_pl.uda.methods.dan.mmd` under the product over layers of their kernels,
    :math:`k(x, y) = \prod_l \sum_u \exp(-\|x^l - y^l\|^2 / (m_u^l \gamma^l))`.

    Args:
        source: Shape (N_s, d_l) for each layer ``l``.
        target: Shape (N_t, d_l) for each layer.
        multiples: ``m_u > 0`` for each layer.
        bandwidths: ``γ > 0`` for each layer; ``None``: as in ``mmd``.
        estimator: ``"linear"``, ``"unbiased"`` or ``"biased"``.

    Returns:
        A scalar in float32 or, for float64 inputs, float64, also under autocast.

    Example:
        >>> import torch
        >>> features, probabilities = torch.randn(6, 4), torch.eye(2).repeat(3, 1)
        >>> layers = [features, probabilities]
        >>> abs(jmmd(layers, layers, estimator="biased").item()) < 1e-6
        True
    """
    if len(multiples) != len(bandwidths):
        raise ValueError(
            "multiples and bandwidths must have one entry for each layer, got "
            f"{len(multiples)} and {len(bandwidths)}"
        )
    kernels = [Kernel(*kernel) for kernel in zip(multiples, bandwidths, strict=True)]
    return embedding_distance(source, target, kernels, estimator)


class JAN(Method):
    r"""Joint maximum mean discrepancy of features and class probabilities.

    Long, Zhu, Wang, Jordan, *Deep Transfer Learning with Joint Adaptation Networks* (ICML 2017),
    with the kernels of the authors' code: five on the features, with bandwidths a quarter to four
    times the mean squared distance, and one on the probabilities, with bandwidth 1.68. The paper
    has the linear-time estimate; the one over all pairs, the default here and in the same group's
    Transfer-Learning-Library, varies less and costs little at the size of a batch. The adversarial
    variant, JAN-A, is not implemented.

    With several ranks it is the mean of the ranks' discrepancies, each of the rank's own samples.

    Args:
        multiples: Bandwidths of the features' kernels, as multiples ``> 0`` of the mean squared
            distance.
        probability_bandwidth: Of the probabilities' kernel, ``> 0``.
        estimator: ``"linear"``, ``"unbiased"`` or ``"biased"``; see
            :func:`~supercm_pl.uda.methods.dan.mmd`.
    """

    step_type = UDAStep

    def __init__(
        self,
        *,
        multiples: Sequence[float] = MULTIPLES,
        probability_bandwidth: float = 1.68,
        estimator: Estimator = "unbiased",
        weight: float = 1.0,
        ramp: Ramp | float | None = None,
    ) -> None:
        super().__init__(weight=weight, ramp=ramp)
        Kernel(multiples).check()
        self.multiples = tuple(multiples)
        self.probability_bandwidth = check_positive("probability_bandwidth", probability_bandwidth)
        self.estimator: Estimator = check_choice("estimator", estimator, get_args(Estimator))

    def forward(self, step: UDAStep) -> MethodLoss:
        """Return the joint discrepancy of source and target samples."""
        source, target = step.source, step.target
        discrepancy = jmmd(
            [source.features, source.assignments],
            [target.features, target.assignments],
            multiples=(self.multiples, (1.0,)),
            bandwidths=(None, self.probability_bandwidth),
            estimator=self.estimator,
        )
        return MethodLoss(discrepancy)
