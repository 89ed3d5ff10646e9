"""Two views of an image should get the same class probabilities."""

from __future__ import annotations

from supercm_pl.ssl.methods import Method, MethodLoss, Step
from supercm_pl.training.ramps import Ramp


class ViewConsistency(Method):
    r"""Squared difference of the class probabilities of the weak and the strong view.

    .. math::
        R = \frac{1}{N K} \sum_i \lVert p(\text{strong}_i) - p(\text{weak}_i) \rVert^2

    with :math:`p` the softmax of the logits. Logs ``confidence``, the mean largest probability.

    Args:
        detach_weak: Whether the weak view is a target without gradient.
    """

    views = ("weak", "strong")  # the data module creates them, the module forwards them

    def __init__(
        self,
        *,
        detach_weak: bool = True,
        weight: float = 1.0,
        ramp: Ramp | float | None = None,
    ) -> None:
        super().__init__(weight=weight, ramp=ramp)
        self.detach_weak = detach_weak

    def forward(self, step: Step) -> MethodLoss:
        """Return the loss of the unlabeled samples."""
        weak = step.unlabeled["weak"].logits.softmax(dim=1)
        strong = step.unlabeled["strong"].logits.softmax(dim=1)
        target = weak.detach() if self.detach_weak else weak
        confidence = weak.detach().amax(dim=1).mean()
        return MethodLoss((strong - target).square().mean(), {"confidence": confidence})
