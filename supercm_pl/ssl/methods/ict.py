"""ICT: a mixture of samples should get the mixture of their predictions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.distributions import Beta

from supercm_pl.checks import check_positive
from supercm_pl.ssl.components.teacher import TeacherMethod
from supercm_pl.training.method import MethodLoss, Ramp, Step


class ICT(TeacherMethod):
    r"""Interpolation consistency training.

    .. math::
        R = \frac{1}{N K} \sum_i \lVert p_\theta(\lambda u_i + (1 - \lambda) u_{\pi(i)})
            - \lambda p_{\theta'}(u_i) - (1 - \lambda) p_{\theta'}(u_{\pi(i)}) \rVert^2

    with one :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)` and one permutation :math:`\pi` for
    a step, :math:`p` the softmax of the logits, and the teacher :math:`\theta'` of
    :class:`MeanTeacher`: Verma et al., *Interpolation Consistency Training for Semi-Supervised
    Learning* (2019), section 2 and algorithm 1. Weight, ramp and α are those that their code
    recommends for CIFAR-10; for SVHN it has ``alpha=0.1``. Their code mixes the teacher's logits,
    where the paper mixes predictions, mixes the labeled samples as well, and tests the average.
    Here the model is tested; for the average, add Lightning's callback ``EMAWeightAveraging`` with
    the same decay.

    The mixtures have their own forward pass. Draws are from the global generator of the device.

    Args:
        alpha: ``α > 0``; small values leave most samples nearly unchanged.
        momentum: Of the moving average, in ``[0, 1)``.
    """

    views = ()
    input_views = ("weak",)

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        momentum: float = 0.999,
        weight: float = 100.0,
        ramp: Ramp | float | None = 0.25,
    ) -> None:
        super().__init__(momentum=momentum, weight=weight, ramp=ramp)
        self.alpha = check_positive("alpha", alpha)

    def forward(self, step: Step) -> MethodLoss:
        """Return the loss of mixtures of the unlabeled samples."""
        inputs = step.unlabeled_inputs["weak"]
        targets = self.teacher(inputs).softmax(dim=1)
        concentration = torch.full((), self.alpha, device=inputs.device)
        # Validating the arguments would synchronize with the device.
        share = Beta(concentration, concentration, validate_args=False).sample()
        others = torch.randperm(len(inputs), device=inputs.device)
        mixed = torch.lerp(inputs[others], inputs, share.to(inputs.dtype))
        target = torch.lerp(targets[others], targets, share.to(targets.dtype))
        return MethodLoss(F.mse_loss(step.extra_forward(mixed).logits.softmax(dim=1), target))
