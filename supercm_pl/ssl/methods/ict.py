"""ICT: a mixture of samples should get the mixture of their predictions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Beta

from supercm_pl.checks import check_positive
from supercm_pl.clustering import ClusteringHead
from supercm_pl.ssl.methods._teacher import Teacher, check_momentum
from supercm_pl.training.method import Method, MethodLoss
from supercm_pl.training.ramps import Ramp
from supercm_pl.training.step import Step


class ICT(Method):
    r"""Interpolation consistency training.

    .. math::
        R = \frac{1}{N K} \sum_i \lVert p_\theta(\lambda u_i + (1 - \lambda) u_{\pi(i)})
            - \lambda p_{\theta'}(u_i) - (1 - \lambda) p_{\theta'}(u_{\pi(i)}) \rVert^2

    with one :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)` and one permutation :math:`\pi` for
    a step, :math:`p` the softmax of the logits, and the teacher :math:`\theta'` an exponential
    moving average of the model :math:`\theta`, as in :class:`MeanTeacher`: Verma et al.,
    *Interpolation Consistency Training for Semi-Supervised Learning* (2019), section 2 and
    algorithm 1. Weight, ramp and α are those that their code recommends for CIFAR-10, the weight
    for a cross-entropy that is a mean over labeled samples; for SVHN it has ``alpha=0.1``. It mixes
    the teacher's logits where the paper mixes predictions, and mixes the labeled samples as well.

    The mixtures have a forward pass of their own. The draws are from the global generator of the
    device.

    Args:
        alpha: ``α > 0``; small ones leave most samples nearly as they are.
        momentum: Of the moving average, in ``[0, 1)``.
        weight: Weight of the term, ``>= 0``.
        ramp: How it grows over training; a number is the end of a
            :class:`~supercm_pl.training.ramps.SigmoidRampUp`; ``None``: full from the start.

    Attributes:
        teacher: The moving average; there once the term is part of a model.

    Raises:
        ValueError: If an argument is out of range.
    """

    views = ()
    input_views = ("weak",)
    batch_norm_policy = "all"
    teacher: Teacher

    def __init__(
        self,
        alpha: float = 1.0,
        momentum: float = 0.999,
        weight: float = 100.0,
        ramp: Ramp | float | None = 0.25,
    ) -> None:
        super().__init__(weight, ramp)
        self.alpha = check_positive("alpha", alpha)
        self.momentum = check_momentum(momentum)

    def build(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Make the teacher, a copy of the model."""
        self.teacher = Teacher(backbone, head, self.momentum)

    def after_step(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Let the teacher follow the model."""
        self.teacher.follow(backbone, head)

    def forward(self, step: Step) -> MethodLoss:
        """The term on this step's rows."""
        inputs = step.unlabeled_inputs["weak"]
        targets = self.teacher(inputs).softmax(dim=1)
        concentration = torch.full((), self.alpha, device=inputs.device)
        # To validate the arguments would be to wait for them.
        share = Beta(concentration, concentration, validate_args=False).sample()
        others = torch.randperm(len(inputs), device=inputs.device)
        mixed = torch.lerp(inputs[others], inputs, share.to(inputs.dtype))
        target = torch.lerp(targets[others], targets, share.to(targets.dtype))
        return MethodLoss(F.mse_loss(step.extra_forward(mixed).logits.softmax(dim=1), target))
