"""UDA: unsupervised data augmentation for consistency training."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from supercm_pl.checks import check_choice, check_fraction, check_positive
from supercm_pl.distributed import sum_over_ranks
from supercm_pl.ssl.components.pseudo_labels import probabilities, sharpen
from supercm_pl.training.method import Method, MethodLoss, Ramp, Step

SignalAnnealing = Literal["none", "linear", "log", "exp"]


class UDA(Method):
    r"""Unsupervised data augmentation; not related to unsupervised domain adaptation.

    Xie et al., *Unsupervised Data Augmentation for Consistency Training* (NeurIPS 2020), section 2:

    .. math::
        R = \frac{1}{\mu B} \sum_b \mathbb{1}[\max q_b > \beta] \;
            \mathrm{KL}\bigl(\mathrm{softmax}(z_b / \tau) \,\|\, p_b\bigr),

    with :math:`z_b` the logits and :math:`q_b` the prediction on the weak view, without gradient,
    and :math:`p_b` the prediction on the strong view. The mean is over all samples: those below
    the threshold count as 0.

    With training signal annealing, a labeled sample is left out while its class has more
    probability than :math:`\eta_t = \alpha_t (1 - 1/K) + 1/K`, where at progress :math:`p` of the
    run :math:`\alpha_t` is :math:`p` (``"linear"``), :math:`1 - e^{-5p}` (``"log"``) or
    :math:`e^{5(p - 1)}` (``"exp"``, for few labels, which a model soon memorizes). The
    cross-entropy is the mean over the samples that are used, of all ranks.

    Logs ``used``, the fraction of unlabeled samples above the threshold, and with annealing
    ``tsa_used``, the fraction of labeled samples that are used.

    Args:
        threshold: ``β`` in ``(0, 1)``; 0.8 is for CIFAR-10 and SVHN.
        temperature: ``τ > 0``; 0.4 is for CIFAR-10 and SVHN.
        tsa: Schedule of training signal annealing; ``"none"`` uses all labeled samples.
    """

    views = ("weak", "strong")

    def __init__(
        self,
        *,
        threshold: float = 0.8,
        temperature: float = 0.4,
        tsa: SignalAnnealing = "none",
        weight: float = 1.0,
        ramp: Ramp | float | None = None,
    ) -> None:
        super().__init__(weight=weight, ramp=ramp)
        self.threshold = check_fraction("threshold", threshold)
        self.temperature = check_positive("temperature", temperature)
        self.tsa = check_choice("tsa", tsa, get_args(SignalAnnealing))
        self.replaces_supervised = tsa != "none"

    @property
    def needs_progress(self) -> bool:
        """Whether the method depends on ``step.progress``."""
        return self.tsa != "none" or super().needs_progress

    def forward(self, step: Step) -> MethodLoss:
        """Return the loss of the weak and strong views of the unlabeled samples."""
        predicted = probabilities(step.unlabeled["weak"].logits)
        used = (predicted.amax(dim=1) > self.threshold).to(predicted.dtype)
        target = sharpen(predicted, self.temperature)
        strong = step.unlabeled["strong"].logits.log_softmax(dim=1)
        divergence = F.kl_div(strong, target, reduction="none").sum(dim=1)
        loss, logs = (used * divergence).mean(), {"used": used.mean()}
        if self.tsa == "none":
            return MethodLoss(loss, logs)
        supervised, logs["tsa_used"] = self._annealed(step)
        return MethodLoss(loss, logs, supervised)

    def signal_threshold(self, progress: float, num_classes: int) -> float:
        """``η_t``, the probability of its class above which a labeled sample is left out."""
        fraction = {
            "none": 1.0,
            "linear": progress,
            "log": 1.0 - math.exp(-5.0 * progress),
            "exp": math.exp(5.0 * (progress - 1.0)),
        }[self.tsa]
        return fraction * (1.0 - 1.0 / num_classes) + 1.0 / num_classes

    def _annealed(self, step: Step) -> tuple[Tensor, Tensor]:
        logits = step.labeled["weak"].logits
        threshold = self.signal_threshold(step.progress, logits.shape[1])
        own = probabilities(logits).gather(1, step.labels.unsqueeze(1))
        left = (own <= threshold).to(own.dtype)
        losses = left.squeeze(1) * F.cross_entropy(logits, step.labels, reduction="none")
        counts = torch.stack([left.sum(), left.new_full((), len(left)), left.new_ones(())])
        num_left, num_labeled, num_ranks = sum_over_ranks(counts).unbind()
        # Averaged over the ranks, as gradients are, this is the sum over all samples divided by
        # the number of those that are used.
        mean = losses.sum() * num_ranks / num_left.clamp(min=1.0)
        return mean, num_left / num_labeled.clamp(min=1.0)
