"""Pi-model: two views of a sample should get the same prediction."""

from __future__ import annotations

import torch.nn.functional as F

from supercm_pl.training.method import Method, MethodLoss, Ramp, Step


class PiModel(Method):
    r"""Squared difference of the class probabilities of two weak views.

    .. math::
        R = \frac{1}{N K} \sum_i \lVert p(x_i) - p(\tilde x_i) \rVert^2

    with :math:`p` the softmax of the logits: Laine and Aila, *Temporal Ensembling for
    Semi-Supervised Learning* (2017), section 2.1, with their weight and ramp.

    As in the paper, the gradient flows through both views. Oliver et al., *Realistic Evaluation of
    Deep Semi-Supervised Learning Algorithms* (2018), and SuperCM's experiments stop it at one of
    them, which is about half the gradient: their weights, 20 and 0.2 with ``ramp=0.4``, are 10 and
    0.1 here. Both views are in one forward pass, so that batch norm treats them alike. The mean is
    over the unlabeled samples; the paper's includes the labeled ones.
    """

    views = ("weak", "weak_2")

    def __init__(self, *, weight: float = 100.0, ramp: Ramp | float | None = 0.27) -> None:
        super().__init__(weight=weight, ramp=ramp)

    def forward(self, step: Step) -> MethodLoss:
        """Return the loss of the two weak views of the unlabeled samples."""
        first, second = (step.unlabeled[view].logits.softmax(dim=1) for view in self.views)
        return MethodLoss(F.mse_loss(first, second))
