"""MixMatch: sharpened guesses, mixed with one another and with the labeled samples."""

from __future__ import annotations

import torch
from torch import Tensor

from supercm_pl.checks import check_positive
from supercm_pl.ssl.components.mix_up import mix_up
from supercm_pl.ssl.components.pseudo_labels import (
    one_hot,
    probabilities,
    sharpen,
    soft_cross_entropy,
)
from supercm_pl.training.method import Method, MethodLoss, Ramp, Step
from supercm_pl.training.ramps import LinearRampUp


class MixMatch(Method):
    r"""Trains on mixtures of labeled samples and of unlabeled samples with guessed labels.

    Berthelot et al., *MixMatch: A Holistic Approach to Semi-Supervised Learning* (NeurIPS 2019).
    The guess :math:`\bar q_b` is the mean prediction on ``K = 2`` weak views, sharpened with ``T``
    (eqs. 6 and 7), without gradient. Labeled samples :math:`\hat X` and unlabeled samples
    :math:`\hat U`, every view with the guess of its sample, are mixed with a shuffle of them all
    (Algorithm 1, eqs. 8 to 11):

    .. math::
        \lambda \sim \mathrm{Beta}(\alpha, \alpha), \quad \lambda' = \max(\lambda, 1 - \lambda),
        \quad x' = \lambda' x_1 + (1 - \lambda') x_2, \quad p' = \lambda' p_1 + (1 - \lambda') p_2.

    Each sample has its own ``λ``, as in the reference code. The loss is (eq. 4, with a mean over
    samples and classes) :math:`L_U = \frac{1}{K |U'|} \sum \lVert q' - p(u') \rVert^2`, and the
    cross-entropy of the mixed labeled samples, :math:`L_X` (eq. 3), replaces the cross-entropy of
    the labeled samples.

    All mixtures go through one forward pass, so batch norm normalizes labeled and unlabeled ones
    together, for which the reference code interleaves batches. The running statistics follow all
    mixtures, there one batch of them; with SuperCM, also the samples of its pass. The module's
    ``batch_norm`` must be ``"all"``.

    Args:
        temperature: ``T > 0`` of the sharpening.
        alpha: ``α > 0`` of the Beta distribution.
        weight: Weight of the loss, ``>= 0``; 75 is for CIFAR-10.
        ramp: Growth of the weight; a number is the end of a
            :class:`~supercm_pl.training.ramps.LinearRampUp`, 1/64 as in the reference code (1,024
            of 65,536 thousand images).
    """

    views = ()
    labeled_views = ()
    input_views = ("weak", "weak_2")
    replaces_supervised = True
    joint_batch_norm = True
    ramp_type = LinearRampUp

    def __init__(
        self,
        *,
        temperature: float = 0.5,
        alpha: float = 0.75,
        weight: float = 75.0,
        ramp: Ramp | float | None = 1 / 64,
    ) -> None:
        super().__init__(weight=weight, ramp=ramp)
        self.temperature = check_positive("temperature", temperature)
        self.alpha = check_positive("alpha", alpha)

    def forward(self, step: Step) -> MethodLoss:
        """Return the losses of mixtures of the labeled and unlabeled samples."""
        guesses = self.guess(step)
        labels = one_hot(step.labels, guesses.shape[1], guesses.dtype)
        views = [step.unlabeled_inputs[view] for view in self.input_views]
        inputs, targets = mix_up(
            torch.cat([step.labeled_inputs["weak"], *views]),
            torch.cat([labels, *([guesses] * len(views))]),
            self.alpha,
        )
        logits = step.extra_forward(inputs).logits
        num_labeled = len(step.labels)
        supervised = soft_cross_entropy(logits[:num_labeled], targets[:num_labeled]).mean()
        predicted = logits[num_labeled:].softmax(dim=1)
        loss = (predicted - targets[num_labeled:]).square().mean()
        return MethodLoss(loss, supervised=supervised)

    @torch.no_grad()
    def guess(self, step: Step) -> Tensor:
        """Sharpened mean predictions ``(N_u, K)`` on the weak views."""
        # The views of a sample have to be normalized alike, so those of a pass with labeled
        # samples, which SuperCM needs, can't serve.
        inputs = torch.cat([step.unlabeled_inputs[view] for view in self.input_views])
        logits = step.forward_frozen_bn(inputs).logits.chunk(len(self.input_views))
        mean = torch.stack([probabilities(part) for part in logits]).mean(dim=0)
        return sharpen(mean, self.temperature)
