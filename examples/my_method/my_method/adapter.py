"""A term on source and target: their mean features should be the same."""

from __future__ import annotations

from supercm_pl.core.term import TermValue
from supercm_pl.uda.adapters import Adapter, UDAStep


class MeanAlignment(Adapter):
    """Squared distance of the two domains' mean features, divided by their number.

    It is the maximum mean discrepancy with a linear kernel.
    """

    def forward(self, step: UDAStep) -> TermValue:
        """The distance of this step's rows."""
        gap = step.source.features.mean(dim=0) - step.target.features.mean(dim=0)
        return TermValue(gap.square().mean())
