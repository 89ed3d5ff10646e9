"""A term on unlabeled samples: two views of an image should get the same probabilities."""

from __future__ import annotations

from supercm_pl.ssl.methods import Method
from supercm_pl.training.method import MethodLoss
from supercm_pl.training.ramps import Ramp
from supercm_pl.training.step import Step


class ViewConsistency(Method):
    """Mean squared difference of the probabilities of the weak and the strong view.

    Args:
        weight: Weight of the term, 0 or more.
        ramp: How the weight grows over training.
        detach_weak: Let the weak view be the target, with no gradient through it.
    """

    # Both go through the step's forward pass; the data module makes them.
    views = ("weak", "strong")

    def __init__(
        self, weight: float = 1.0, ramp: Ramp | None = None, *, detach_weak: bool = True
    ) -> None:
        super().__init__(weight, ramp)
        self.detach_weak = detach_weak

    def forward(self, step: Step) -> MethodLoss:
        """The term on this step's rows; what is in ``logs`` is logged beside it."""
        weak = step.unlabeled["weak"].logits.softmax(dim=1)
        strong = step.unlabeled["strong"].logits.softmax(dim=1)
        target = weak.detach() if self.detach_weak else weak
        confidence = weak.detach().amax(dim=1).mean()
        return MethodLoss((strong - target).square().mean(), {"confidence": confidence})
