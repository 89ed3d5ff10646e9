"""Pseudo-label: confident predictions are taken for labels."""

from __future__ import annotations

import torch.nn.functional as F

from supercm_pl.checks import check_fraction
from supercm_pl.training.method import Method, MethodLoss
from supercm_pl.training.ramps import Ramp
from supercm_pl.training.step import Step


class PseudoLabel(Method):
    r"""Cross-entropy with the model's own predictions, where they are confident.

    .. math::
        R = -\frac{1}{N} \sum_i \mathbb{1}[\max_k p_k(x_i) > \tau] \log p_{\hat y_i}(x_i),
        \qquad \hat y_i = \arg\max_k p_k(x_i)

    with :math:`p` the softmax of the logits, and a mean over all samples, confident or not: Lee,
    *Pseudo-Label* (2013), with the threshold and weight of Oliver et al., *Realistic Evaluation of
    Deep Semi-Supervised Learning Algorithms* (2018). Labels are of the same forward
    pass, and carry no gradient.

    SuperCM's experiments use the same threshold. Their code multiplies the labels by 10, so that
    its weights, 0.133 to 0.186, are 1.33 to 1.86 here.

    Args:
        threshold: ``τ`` in ``(0, 1)``; a sample with no greater probability adds nothing.
        weight: Weight of the term, ``>= 0``.
        ramp: How it grows over training; a number is the end of a
            :class:`~supercm_pl.training.ramps.SigmoidRampUp`; ``None``: full from the start.

    Raises:
        ValueError: If an argument is out of range.
    """

    views = ("weak",)
    batch_norm_policy = "all"

    def __init__(
        self, threshold: float = 0.95, weight: float = 1.0, ramp: Ramp | float | None = 0.4
    ) -> None:
        super().__init__(weight, ramp)
        self.threshold = check_fraction("threshold", threshold)

    def forward(self, step: Step) -> MethodLoss:
        """The term on this step's rows; logs ``mask``, the fraction above the threshold."""
        logits = step.unlabeled["weak"].logits
        confidence, labels = logits.detach().softmax(dim=1).max(dim=1)
        mask = (confidence > self.threshold).to(logits.dtype)
        losses = F.cross_entropy(logits, labels, reduction="none")
        return MethodLoss((mask * losses).mean(), {"mask": mask.mean()})
