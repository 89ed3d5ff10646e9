"""Mean Teacher: the moving average of the model teaches it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from supercm_pl.clustering import ClusteringHead
from supercm_pl.ssl.methods._teacher import Teacher, check_momentum
from supercm_pl.training.method import Method, MethodLoss
from supercm_pl.training.ramps import Ramp
from supercm_pl.training.step import Step


class MeanTeacher(Method):
    r"""Squared difference to the class probabilities that a teacher gives another weak view.

    .. math::
        R = \frac{1}{N K} \sum_i \lVert p_\theta(x_i) - p_{\theta'}(\tilde x_i) \rVert^2

    with :math:`p` the softmax of the logits, a mean over samples and classes, and the teacher
    :math:`\theta'` an exponential moving average of the model :math:`\theta` without gradient:
    Tarvainen and Valpola, *Mean teachers are better role models* (2017), section 2. Weight and
    ramp are theirs for CIFAR-10, the weight for a cross-entropy that is a mean over labeled
    samples. The teacher is in training mode with the model, as in their code: batch norm
    normalises by the batch, and dropout is drawn anew.

    SuperCM's experiments have ``momentum=0.95``, ``weight=0.155`` and ``ramp=0.4``; Oliver et al.
    (2018) a weight of 8. The teacher is a mean of about the last ``1 / (1 - momentum)`` steps: a
    run of a few hundred wants a momentum like SuperCM's.

    Args:
        momentum: Of the moving average, in ``[0, 1)``.
        weight: Weight of the term, ``>= 0``.
        ramp: How it grows over training; a number is the end of a
            :class:`~supercm_pl.training.ramps.SigmoidRampUp`; ``None``: full from the start.

    Attributes:
        teacher: The moving average; there once the term is part of a model.

    Raises:
        ValueError: If an argument is out of range.
    """

    views = ("weak",)
    input_views = ("weak_2",)
    batch_norm_policy = "all"
    teacher: Teacher

    def __init__(
        self, momentum: float = 0.999, weight: float = 100.0, ramp: Ramp | float | None = 0.27
    ) -> None:
        super().__init__(weight, ramp)
        self.momentum = check_momentum(momentum)

    def build(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Make the teacher, a copy of the model."""
        self.teacher = Teacher(backbone, head, self.momentum)

    def after_step(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Let the teacher follow the model."""
        self.teacher.follow(backbone, head)

    def forward(self, step: Step) -> MethodLoss:
        """The term on this step's rows."""
        target = self.teacher(step.unlabeled_inputs["weak_2"]).softmax(dim=1)
        return MethodLoss(F.mse_loss(step.unlabeled["weak"].logits.softmax(dim=1), target))
