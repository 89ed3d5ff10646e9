"""Mean Teacher: the moving average of the model teaches it."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from supercm_pl.ssl.components.teacher import TeacherMethod
from supercm_pl.training.method import MethodLoss, Ramp, Step


class MeanTeacher(TeacherMethod):
    r"""Squared difference to the class probabilities that a teacher gives another weak view.

    .. math::
        R = \frac{1}{N K} \sum_i \lVert p_\theta(x_i) - p_{\theta'}(\tilde x_i) \rVert^2

    with :math:`p` the softmax of the logits, and the teacher :math:`\theta'` an exponential moving
    average of the model :math:`\theta`, without gradient: Tarvainen and Valpola, *Mean teachers
    are better role models* (2017), section 2, with their weight and ramp for CIFAR-10. As in their
    code, the teacher is in training mode with the model: dropout is drawn anew, and batch norm
    normalizes by the batch, which holds the same other samples as the model's. The mean is over the
    unlabeled samples; that of their code includes the labeled ones.

    SuperCM's experiments have ``momentum=0.95``, ``weight=0.155`` and ``ramp=0.4``; Oliver et al.
    (2018) a weight of 8. The teacher averages about the last ``1 / (1 - momentum)`` steps, so use
    a momentum like SuperCM's in a run of a few hundred steps. The model is tested, not the teacher;
    for the average, add Lightning's callback ``EMAWeightAveraging`` with the same decay, which,
    unlike the teacher, remembers the first weights for about ``1 / (1 - decay)`` steps.

    Args:
        momentum: Of the moving average, in ``[0, 1)``.
    """

    input_views = ("weak_2",)

    def __init__(
        self, *, momentum: float = 0.999, weight: float = 100.0, ramp: Ramp | float | None = 0.27
    ) -> None:
        super().__init__(momentum=momentum, weight=weight, ramp=ramp)

    def forward(self, step: Step) -> MethodLoss:
        """Return the loss of the weak views of the unlabeled samples."""
        views = step.unlabeled_inputs["weak_2"]
        # With the companions of the weak view: batch norm must treat both sides alike.
        logits = self.teacher(torch.cat([views, *step.companions]))[: len(views)]
        target = logits.softmax(dim=1)
        return MethodLoss(F.mse_loss(step.unlabeled["weak"].logits.softmax(dim=1), target))
