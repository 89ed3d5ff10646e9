"""Pi-model: two views of a sample should get the same prediction."""

from __future__ import annotations

import torch.nn.functional as F

from supercm_pl.training.method import Method, MethodLoss
from supercm_pl.training.ramps import Ramp
from supercm_pl.training.step import Step


class PiModel(Method):
    r"""Squared difference of the class probabilities of two weak views.

    .. math::
        R = \frac{1}{N K} \sum_i \lVert p(x_i) - p(\tilde x_i) \rVert^2

    with :math:`p` the softmax of the logits, and a mean over samples and classes: Laine and Aila,
    *Temporal Ensembling for Semi-Supervised Learning* (2017), section 2.1. Weight and ramp are
    theirs, the weight for a cross-entropy that is a mean over labeled samples.

    As in the paper the gradient flows through both views. Oliver et al., *Realistic Evaluation of
    Deep Semi-Supervised Learning Algorithms* (2018), and SuperCM's experiments stop it at one of
    them. The views are independent draws, so that this is about half the gradient on average: their
    weights, 20 and 0.2, are 10 and 0.1 here. They take a ramp of 0.4.

    Batch norm is as in those two: the second view has the statistics of its own batch, and moves
    none.

    Args:
        weight: Weight of the term, ``>= 0``.
        ramp: How it grows over training; a number is the end of a
            :class:`~supercm_pl.training.ramps.SigmoidRampUp`; ``None``: full from the start.

    Raises:
        ValueError: If an argument is out of range.
    """

    views = ("weak", "weak_2")
    batch_norm_policy = "frozen"

    def __init__(self, weight: float = 100.0, ramp: Ramp | float | None = 0.27) -> None:
        super().__init__(weight, ramp)

    def forward(self, step: Step) -> MethodLoss:
        """The term on this step's rows."""
        first, second = (step.unlabeled[view].logits.softmax(dim=1) for view in self.views)
        return MethodLoss(F.mse_loss(first, second))
