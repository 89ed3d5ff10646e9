"""Adaptive feature norm: bring the features of both domains to large norms."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from supercm_pl.checks import check_choice, check_matrix, check_positive
from supercm_pl.distributed import sum_over_ranks
from supercm_pl.precision import math_dtype
from supercm_pl.training.method import Method, MethodLoss, Ramp
from supercm_pl.uda.step import UDAStep

AFNVariant = Literal["stepwise", "hard"]


def feature_norms(features: Tensor) -> Tensor:
    """Euclidean norms, (N,), of features (N, d), in float32 at least; gradient 0 at 0."""
    check_matrix("features", features, ("N", None), ("d", None))
    norms: Tensor = torch.linalg.vector_norm(features.to(math_dtype(features)), dim=1)
    return norms


def stepwise_feature_norm(features: Tensor, step_size: float = 1.0) -> Tensor:
    r"""Loss that makes the norm of each feature vector a step larger than it is.

    .. math::
        \frac{1}{N} \sum_i \bigl(\|x_i\| - (\mathrm{sg}\,\|x_i\| + \Delta r)\bigr)^2,

    where no gradient goes through :math:`\mathrm{sg}`. Its value is always :math:`\Delta r^2`; its
    gradient is :math:`-2 \Delta r / N` times that of the norms.

    Args:
        features: Shape (N, d), any floating-point dtype.
        step_size: ``Δr > 0``.

    Returns:
        A scalar in float32 or, for float64 features, float64.
    """
    check_positive("step_size", step_size)
    norms = feature_norms(features)
    # The difference first: a norm of 1e8 plus 1 is 1e8 in float32.
    return (norms - norms.detach() - step_size).square().mean()


def hard_feature_norm(features: Tensor, radius: float = 25.0) -> Tensor:
    r"""Squared distance of the mean norm from a radius, :math:`(\frac{1}{N} \sum_i \|x_i\| - R)^2`.

    With several ranks, the mean is over the samples of all ranks, and every rank has to call this.

    Args:
        features: Shape (N, d), any floating-point dtype.
        radius: ``R > 0``.

    Returns:
        A scalar in float32 or, for float64 features, float64.

    Raises:
        TypeError: If features are not a floating-point tensor, or the radius is not a number.

    Example:
        >>> hard_feature_norm(torch.tensor([[3.0, 4.0], [0.0, 1.0]]), radius=5.0)
        tensor(4.)
    """
    check_positive("radius", radius)
    norms = feature_norms(features)
    totals = sum_over_ranks(torch.stack([norms.sum(), norms.new_full((), len(norms))]))
    mean = totals[0] / totals[1].clamp(min=1.0)
    return (mean - radius).square()


class AFN(Method):
    """Feature-norm loss of the source plus that of the target.

    Xu, Li, Yang, Lin, *Larger Norm More Transferable: An Adaptive Feature Norm Approach for
    Unsupervised Domain Adaptation* (ICCV 2019): SAFN, or HAFN. The weight, 0.05, is that of the
    authors' code for Office-31; for VisDA-2017 it is 0.01, with steps of 0.3. Their features come
    from a bottleneck of 1000 with batch norm, ReLU and dropout.

    Logs ``source_norm`` and ``target_norm``, the mean norms. The value of the stepwise loss never
    changes, but the norms should grow, and come together.

    Args:
        variant: ``"stepwise"`` (SAFN): each norm a step larger than it is; or ``"hard"`` (HAFN):
            the mean norm of each domain at a given radius.
        step_size: ``Δr > 0`` of the stepwise variant.
        radius: ``R > 0`` of the hard variant.
    """

    step_type = UDAStep

    def __init__(
        self,
        *,
        variant: AFNVariant = "stepwise",
        step_size: float = 1.0,
        radius: float = 25.0,
        weight: float = 0.05,
        ramp: Ramp | float | None = None,
    ) -> None:
        super().__init__(weight=weight, ramp=ramp)
        self.variant = check_choice("variant", variant, get_args(AFNVariant))
        self.step_size = check_positive("step_size", step_size)
        self.radius = check_positive("radius", radius)

    def forward(self, step: UDAStep) -> MethodLoss:
        """Return the loss of the features of both domains, and their mean norms."""
        domains = {"source": step.source.features, "target": step.target.features}
        losses = [
            stepwise_feature_norm(features, self.step_size)
            if self.variant == "stepwise"
            else hard_feature_norm(features, self.radius)
            for features in domains.values()
        ]
        with torch.no_grad():
            logs = {f"{name}_norm": feature_norms(part).mean() for name, part in domains.items()}
        return MethodLoss(losses[0] + losses[1], logs)
