"""FixMatch: confident predictions on weak views are labels for strong views."""

from __future__ import annotations

from supercm_pl.checks import check_fraction, check_optional, check_positive
from supercm_pl.ssl.components.pseudo_labels import (
    probabilities,
    pseudo_label_loss,
    sharpen,
    soft_cross_entropy,
)
from supercm_pl.training.method import Method, MethodLoss, Ramp, Step


class FixMatch(Method):
    r"""Consistency of a strong view with the confident pseudo-label of a weak view.

    Sohn et al., *FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence*
    (NeurIPS 2020), eq. 4:

    .. math::
        R = \frac{1}{\mu B} \sum_b \mathbb{1}[\max q_b \ge \tau] \; H(\arg\max q_b,\, p_b),

    with :math:`q_b` the prediction on the weak view, without gradient, and :math:`p_b` the
    prediction on the strong view. The mean is over all samples: those below the threshold count
    as 0.

    Logs ``used``, the fraction of samples above the threshold.

    Args:
        threshold: ``τ`` in ``(0, 1)``.
        temperature: ``> 0`` makes the label ``softmax(z / temperature)``; ``None``: the most
            probable class, as published.
    """

    views = ("weak", "strong")

    def __init__(
        self,
        *,
        threshold: float = 0.95,
        temperature: float | None = None,
        weight: float = 1.0,
        ramp: Ramp | float | None = None,
    ) -> None:
        super().__init__(weight=weight, ramp=ramp)
        self.threshold = check_fraction("threshold", threshold)
        self.temperature = check_optional(check_positive, "temperature", temperature)

    def forward(self, step: Step) -> MethodLoss:
        """Return the loss of the weak and strong views of the unlabeled samples."""
        predicted = probabilities(step.unlabeled["weak"].logits)
        logits = step.unlabeled["strong"].logits
        confidence, labels = predicted.max(dim=1)
        used = (confidence >= self.threshold).to(predicted.dtype)
        if self.temperature is None:
            loss = pseudo_label_loss(logits, labels, used)
        else:
            targets = sharpen(predicted, self.temperature)
            loss = (used * soft_cross_entropy(logits, targets)).mean()
        return MethodLoss(loss, {"used": used.mean()})
