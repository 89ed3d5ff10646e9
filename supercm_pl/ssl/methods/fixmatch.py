"""FixMatch: confident predictions on weak views are labels for strong ones."""

from __future__ import annotations

import torch.nn.functional as F

from supercm_pl.checks import check_fraction, check_positive
from supercm_pl.ssl.pseudo_labels import probabilities, sharpen, soft_cross_entropy
from supercm_pl.training.method import Method, MethodLoss
from supercm_pl.training.ramps import Ramp
from supercm_pl.training.step import Step


class FixMatch(Method):
    r"""Consistency of a strong view with the confident pseudo-label of a weak one.

    Sohn et al., *FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence*
    (NeurIPS 2020), eq. 4:

    .. math::
        R = \frac{1}{\mu B} \sum_b \mathbb{1}[\max q_b \ge \tau] \; H(\arg\max q_b,\, p_b),

    with :math:`q_b` the prediction on the weak view, a constant, and :math:`p_b` that on the strong
    one. The mean is over all rows: one below the threshold counts as 0. Batch norm sees all rows
    together, as in the reference code.

    Logged besides: ``used``, the share of rows above the threshold.

    Args:
        threshold: ``τ`` in ``(0, 1)``.
        temperature: ``> 0`` makes the label ``softmax(z / temperature)``; ``None``: the most likely
            class, as published.
        weight: Weight of the term, ``>= 0``.
        ramp: How the weight grows over training; ``None``: full from the start, as published.

    Raises:
        ValueError: If a value is out of range.
    """

    views = ("weak", "strong")
    batch_norm_policy = "all"

    def __init__(
        self,
        threshold: float = 0.95,
        temperature: float | None = None,
        weight: float = 1.0,
        ramp: Ramp | None = None,
    ) -> None:
        super().__init__(weight, ramp)
        self.threshold = check_fraction("threshold", threshold)
        if temperature is not None:
            check_positive("temperature", temperature)
        self.temperature = temperature

    def forward(self, step: Step) -> MethodLoss:
        """The term on the weak and strong view of this step's unlabeled rows."""
        predicted = probabilities(step.unlabeled["weak"].logits)
        logits = step.unlabeled["strong"].logits
        confidence, labels = predicted.max(dim=1)
        used = (confidence >= self.threshold).to(predicted.dtype)
        if self.temperature is None:
            losses = F.cross_entropy(logits, labels, reduction="none")
        else:
            losses = soft_cross_entropy(logits, sharpen(predicted, self.temperature))
        return MethodLoss((used * losses).mean(), {"used": used.mean()})
