"""Joint adaptation networks: match the domains' joint embeddings of features and predictions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from supercm_pl.checks import check_positive
from supercm_pl.training.method import Method, MethodLoss, Ramp
from supercm_pl.uda.methods._kernels import (
    MULTIPLES,
    Estimator,
    Kernel,
    check_estimator,
    embedding_distance,
)
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
        bandwidths: ``γ > 0`` for each layer; ``None``: the mean of ``‖x − y‖²`` over all pairs of
            two rows of source and target together, through which no gradient goes.
        estimator: ``"linear"``, ``"unbiased"`` or ``"biased"``.

    Returns:
        A scalar in float32 or, for float64 inputs, float64, whatever autocast says.

    Raises:
        TypeError: If an input is not a floating-point tensor, or a number is not a number.
        ValueError: If shapes or numbers of layers do not fit together or a value is out of range.

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
    with the kernels of the authors' code: five on the features, with bandwidths a
    quarter to four times the mean squared distance, and one on the probabilities, with bandwidth
    1.68. The paper takes the linear-time estimate; over all pairs, as here and in the same
    group's Transfer-Learning-Library, it varies less and costs little at the size of a batch. The
    adversarial variant, JAN-A, is not here.

    Over several ranks it is the mean of the ranks' discrepancies, each of the rank's own rows.

    Args:
        weight: Weight of the term, ``>= 0``.
        ramp: How the weight grows over training.
        multiples: Of the features' mean squared distance, their kernels' bandwidths, ``> 0``.
        probability_bandwidth: Of the probabilities' kernel, ``> 0``.
        estimator: ``"linear"``, ``"unbiased"`` or ``"biased"``; see
            :func:`~supercm_pl.uda.methods.dan.mmd`.

    Raises:
        TypeError: If a number is not a number.
        ValueError: If a value is out of range.
    """

    step_type = UDAStep

    def __init__(
        self,
        weight: float = 1.0,
        ramp: Ramp | None = None,
        *,
        multiples: Sequence[float] = MULTIPLES,
        probability_bandwidth: float = 1.68,
        estimator: Estimator = "unbiased",
    ) -> None:
        super().__init__(weight=weight, ramp=ramp)
        Kernel(multiples).check()
        check_estimator(estimator)
        self.multiples = tuple(multiples)
        self.probability_bandwidth = check_positive("probability_bandwidth", probability_bandwidth)
        self.estimator: Estimator = estimator

    def forward(self, step: UDAStep) -> MethodLoss:
        """The joint discrepancy of this step's rows."""
        source, target = step.source, step.target
        discrepancy = jmmd(
            [source.features, source.assignments],
            [target.features, target.assignments],
            multiples=(self.multiples, (1.0,)),
            bandwidths=(None, self.probability_bandwidth),
            estimator=self.estimator,
        )
        return MethodLoss(discrepancy)
