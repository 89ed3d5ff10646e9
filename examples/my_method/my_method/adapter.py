"""A term on source and target: their mean features should be the same."""

from __future__ import annotations

from supercm_pl.training.method import MethodLoss
from supercm_pl.uda.methods import Method, UDAStep


class MeanAlignment(Method):
    """Squared distance of the two domains' mean features, divided by their number.

    It is the maximum mean discrepancy with a linear kernel.
    """

    def forward(self, step: UDAStep) -> MethodLoss:
        """The distance of this step's rows."""
        gap = step.source.features.mean(dim=0) - step.target.features.mean(dim=0)
        return MethodLoss(gap.square().mean())
