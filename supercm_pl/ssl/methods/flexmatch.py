"""FlexMatch: a threshold for each class, by how well it is learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from supercm_pl.checks import check_at_least, check_flag, check_fraction, check_optional
from supercm_pl.clustering import ClusteringHead
from supercm_pl.ssl.components.label_memory import NO_LABEL, LabelMemory
from supercm_pl.ssl.components.pseudo_labels import probabilities, pseudo_label_loss
from supercm_pl.training.method import Method, MethodLoss, Ramp, Step


class FlexMatch(Method):
    r"""FixMatch with curriculum pseudo-labeling.

    Zhang et al., *FlexMatch: Boosting Semi-Supervised Learning with Curriculum Pseudo Labeling*
    (NeurIPS 2021). Every unlabeled sample remembers its latest pseudo-label above the threshold
    ``τ``. The learning status :math:`\sigma_t(c)` of a class is the number of samples that
    remember it (eq. 5). With the rest of the ``N`` samples as a warm-up (eq. 11),

    .. math::
        \beta_t(c) = \frac{\sigma_t(c)}{\max\{\max_k \sigma_t(k),\, N - \sum_k \sigma_t(k)\}},
        \quad \tau_t(c) = \tau \, \frac{\beta_t(c)}{2 - \beta_t(c)},

    and the loss is that of FixMatch with these thresholds (eq. 8), on the predictions :math:`q_b`
    on the weak view, without gradient, and :math:`p_b` on the strong view:

    .. math::
        R = \frac{1}{\mu B} \sum_b \mathbb{1}[\max q_b \ge \tau_t(\arg\max q_b)] \;
            H(\arg\max q_b,\, p_b).

    A class that no sample remembers has the threshold 0, as published.

    Logs ``used``, the fraction of samples above their threshold, and ``threshold``, the mean over
    the classes.

    Args:
        threshold: ``τ`` in ``(0, 1)``.
        warm_up: Use the warm-up; without it :math:`\beta_t(c) = \sigma_t(c) / \max_k \sigma_t(k)`
            (eq. 6).
        num_samples: Size of the unlabeled part, ``>= 1``; ``None``: ask the data module.

    Attributes:
        memory: A :class:`~supercm_pl.ssl.components.label_memory.LabelMemory`; its ``counts`` are
            :math:`\sigma_t`. It starts anew for data of another size.

    Raises:
        ValueError: At the first step, if neither argument nor data module gives the number of
            samples, or the data gives no index.
    """

    views = ("weak", "strong")
    needs_index = True
    memory: LabelMemory

    def __init__(
        self,
        *,
        threshold: float = 0.95,
        warm_up: bool = True,
        num_samples: int | None = None,
        weight: float = 1.0,
        ramp: Ramp | float | None = None,
    ) -> None:
        super().__init__(weight=weight, ramp=ramp)
        self.threshold = check_fraction("threshold", threshold)
        self.warm_up = check_flag("warm_up", warm_up)
        self.num_samples = check_optional(check_at_least, "num_samples", num_samples, 1)

    def build(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Create the memory."""
        self.memory = LabelMemory(head.num_classes)

    def class_thresholds(self) -> Tensor:
        """``τ_t(c)``, shape ``(K,)``."""
        status = self.memory.counts
        most = status.max()
        if self.warm_up:
            most = torch.maximum(most, len(self.memory.latest) - status.sum())
        fraction = status / most.clamp(min=1)
        return self.threshold * fraction / (2.0 - fraction)

    def forward(self, step: Step) -> MethodLoss:
        """Return the loss of the weak and strong views of the unlabeled samples."""
        size = step.num_unlabeled if self.num_samples is None else self.num_samples
        index = self.memory.prepare(step.index, size)
        predicted = probabilities(step.unlabeled["weak"].logits)
        confidence, labels = predicted.max(dim=1)
        thresholds = self.class_thresholds()
        used = (confidence >= thresholds[labels]).to(predicted.dtype)
        loss = pseudo_label_loss(step.unlabeled["strong"].logits, labels, used)
        self.memory.update(index, torch.where(confidence >= self.threshold, labels, NO_LABEL))
        return MethodLoss(loss, {"used": used.mean(), "threshold": thresholds.mean()})
