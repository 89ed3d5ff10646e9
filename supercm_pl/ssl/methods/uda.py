"""UDA: unsupervised data augmentation for consistency training."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from supercm_pl.checks import check_choice, check_fraction, check_positive
from supercm_pl.distributed import sum_over_ranks
from supercm_pl.ssl.pseudo_labels import probabilities, sharpen
from supercm_pl.training.method import Method, MethodLoss
from supercm_pl.training.ramps import Ramp
from supercm_pl.training.step import Step

SignalAnnealing = Literal["none", "linear", "log", "exp"]


class UDA(Method):
    r"""Unsupervised data augmentation; nothing to do with unsupervised domain adaptation.

    Xie et al., *Unsupervised Data Augmentation for Consistency Training* (NeurIPS 2020), section 2:

    .. math::
        R = \frac{1}{\mu B} \sum_b \mathbb{1}[\max q_b > \beta] \;
            \mathrm{KL}\bigl(\mathrm{softmax}(z_b / \tau) \,\|\, p_b\bigr),

    with :math:`z_b` the logits and :math:`q_b` the prediction of the weak view, constants, and
    :math:`p_b` the prediction on the strong one. The mean is over all rows: one below the threshold
    counts as 0. Batch norm sees all rows together, as in the reference code.

    With training signal annealing, a labeled row gives no loss while its class has more probability
    than :math:`\eta_t = \alpha_t (1 - 1/K) + 1/K`, where at progress :math:`p` of the run
    :math:`\alpha_t` is :math:`p` (``"linear"``), :math:`1 - e^{-5p}` (``"log"``) or
    :math:`e^{5(p - 1)}` (``"exp"``, for few labels, which are soon learned by heart). The mean is
    over the rows that are left, of all ranks.

    Logged besides: ``used``, the share of unlabeled rows above the threshold, and with annealing
    ``tsa_used``, the share of labeled rows that are left.

    Args:
        threshold: ``β`` in ``(0, 1)``; 0.8 is for CIFAR-10 and SVHN.
        temperature: ``τ > 0``; 0.4 is for CIFAR-10 and SVHN.
        tsa: How training signal annealing releases labeled rows; ``"none"`` uses all of them.
        weight: Weight of the term, ``>= 0``.
        ramp: How the weight grows over training; ``None``: full from the start, as published.

    Raises:
        ValueError: If a value is out of range.
    """

    views = ("weak", "strong")
    batch_norm_policy = "all"

    def __init__(
        self,
        threshold: float = 0.8,
        temperature: float = 0.4,
        tsa: SignalAnnealing = "none",
        weight: float = 1.0,
        ramp: Ramp | None = None,
    ) -> None:
        super().__init__(weight, ramp)
        self.threshold = check_fraction("threshold", threshold)
        self.temperature = check_positive("temperature", temperature)
        self.tsa = check_choice("tsa", tsa, get_args(SignalAnnealing))
        if tsa != "none":
            self.replaces_supervised = True
            self.labeled_views = ("weak",)

    def forward(self, step: Step) -> MethodLoss:
        """The term on the weak and strong view of this step's unlabeled rows."""
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
        """``η_t``, the probability of the own class above which a labeled row is left out."""
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
        num_left, num_rows, num_ranks = sum_over_ranks(counts).unbind()
        # The mean over the ranks, which the averaging of gradients makes, is the sum over all rows
        # by the number of those that are left.
        mean = losses.sum() * num_ranks / num_left.clamp(min=1.0)
        return mean, num_left / num_rows.clamp(min=1.0)
