"""Pseudo-label: confident predictions serve as labels."""

from __future__ import annotations

from supercm_pl.checks import check_fraction
from supercm_pl.ssl.components.pseudo_labels import pseudo_label_loss
from supercm_pl.training.method import Method, MethodLoss, Ramp, Step


class PseudoLabel(Method):
    r"""Cross-entropy with the model's own predictions, where they are confident.

    .. math::
        R = -\frac{1}{N} \sum_i \mathbb{1}[\max_k p_k(x_i) > \tau] \log p_{\hat y_i}(x_i),
        \qquad \hat y_i = \arg\max_k p_k(x_i)

    with :math:`p` the softmax of the logits, and a mean over all samples, confident or not: Lee,
    *Pseudo-Label* (2013). Threshold and weight are those of Oliver et al., *Realistic Evaluation
    of Deep Semi-Supervised Learning Algorithms* (2018). The labels come from the same forward
    pass, without gradient.

    SuperCM's experiments use the same threshold. Their code multiplies the labels by 10, so their
    weights, 0.133 to 0.186, are 1.33 to 1.86 here.

    Logs ``mask``, the fraction of samples above the threshold.

    Args:
        threshold: ``τ`` in ``(0, 1)``.
    """

    def __init__(
        self, *, threshold: float = 0.95, weight: float = 1.0, ramp: Ramp | float | None = 0.4
    ) -> None:
        super().__init__(weight=weight, ramp=ramp)
        self.threshold = check_fraction("threshold", threshold)

    def forward(self, step: Step) -> MethodLoss:
        """Return the loss of the weak view of the unlabeled samples."""
        logits = step.unlabeled["weak"].logits
        confidence, labels = logits.detach().softmax(dim=1).max(dim=1)
        mask = (confidence > self.threshold).to(logits.dtype)
        return MethodLoss(pseudo_label_loss(logits, labels, mask), {"mask": mask.mean()})
