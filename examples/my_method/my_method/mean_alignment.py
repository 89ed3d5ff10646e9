"""The mean features of source and target should be the same."""

from __future__ import annotations

from supercm_pl.uda.methods import Method, MethodLoss, UDAStep


class MeanAlignment(Method):
    r"""Squared distance of the two domains' mean features, divided by their size.

    .. math::
        R = \frac{1}{d} \lVert \bar x_s - \bar x_t \rVert^2

    It is the maximum mean discrepancy with a linear kernel.
    """

    step_type = UDAStep  # it needs source and target, so it is for UDAModule only

    def forward(self, step: UDAStep) -> MethodLoss:
        """Return the distance of the source and target samples."""
        gap = step.source.features.mean(dim=0) - step.target.features.mean(dim=0)
        return MethodLoss(gap.square().mean())
