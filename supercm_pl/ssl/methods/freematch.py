"""FreeMatch: thresholds and class balance that adapt by themselves."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supercm_pl.checks import check_fraction, check_not_negative
from supercm_pl.clustering import ClusteringHead
from supercm_pl.distributed import sum_over_ranks
from supercm_pl.ssl.pseudo_labels import mean_over_ranks, one_hot, probabilities
from supercm_pl.training.method import Method, MethodLoss
from supercm_pl.training.ramps import Ramp
from supercm_pl.training.step import Step


class FreeMatch(Method):
    r"""FixMatch with self-adaptive thresholds, and a self-adaptive fairness term.

    Wang et al., *FreeMatch: Self-adaptive Thresholding for Semi-supervised Learning* (ICLR 2023).
    With :math:`q_b` the prediction on the weak view, a constant, the global threshold and the
    expectation of each class are moving averages (eqs. 5 and 6), and make a threshold for each
    class (eq. 7):

    .. math::
        \tau_t = m \tau_{t-1} + \tfrac{1 - m}{\mu B} \textstyle\sum_b \max q_b, \quad
        \tilde p_t = m \tilde p_{t-1} + \tfrac{1 - m}{\mu B} \sum_b q_b, \quad
        \tau_t(c) = \frac{\tilde p_t(c)}{\max_k \tilde p_t(k)} \, \tau_t,

    which start at :math:`1/K`. The term is :math:`R = L_u + w_f L_f`, with (eq. 8)

    .. math::
        L_u = \frac{1}{\mu B} \sum_b \mathbb{1}[\max q_b \ge \tau_t(\arg\max q_b)] \;
              H(\arg\max q_b,\, Q_b)

    on the predictions :math:`Q_b` on the strong view, and (eqs. 9 to 11)

    .. math::
        L_f = -H\bigl(\mathrm{SumNorm}(\tilde p_t / \tilde h_t),\,
              \mathrm{SumNorm}(\bar p / \bar h)\bigr),

    where :math:`\bar p` and :math:`\bar h` are mean and histogram of the predictions on the strong
    views above their threshold, and :math:`\tilde h_t` is the moving average of the histogram on
    the weak views. Classes of which :math:`\bar h` has none are left out: as in the authors' code,
    no gradient comes from them. All means are over the rows of all ranks. Batch norm sees all rows
    together, as in the authors' code.

    Logged besides: ``used``, the share of rows above their threshold; ``threshold``, the global
    one; ``fairness``, :math:`L_f`.

    Args:
        momentum: ``m`` in ``(0, 1)``.
        fairness_weight: ``w_f >= 0``; the authors' later code has 0.001 for CIFAR.
        weight: Weight of the term, ``>= 0``.
        ramp: How the weight grows over training; ``None``: full from the start, as published.

    Attributes:
        threshold: Scalar, the global threshold.
        expectation: ``(K,)``, the mean prediction.
        histogram: ``(K,)``, the share of each class in the pseudo-labels.

    Raises:
        ValueError: If a value is out of range.
    """

    views = ("weak", "strong")
    batch_norm_policy = "all"

    threshold: Tensor
    expectation: Tensor
    histogram: Tensor

    def __init__(
        self,
        momentum: float = 0.999,
        fairness_weight: float = 0.05,
        weight: float = 1.0,
        ramp: Ramp | None = None,
    ) -> None:
        super().__init__(weight, ramp)
        self.momentum = check_fraction("momentum", momentum)
        self.fairness_weight = check_not_negative("fairness_weight", fairness_weight)

    def build(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Make the moving averages."""
        classes = head.num_classes
        self.register_buffer("threshold", torch.tensor(1.0 / classes))
        self.register_buffer("expectation", torch.full((classes,), 1.0 / classes))
        self.register_buffer("histogram", torch.full((classes,), 1.0 / classes))

    def forward(self, step: Step) -> MethodLoss:
        """The term on the weak and strong view of this step's unlabeled rows."""
        predicted = probabilities(step.unlabeled["weak"].logits)
        logits = step.unlabeled["strong"].logits
        confidence, labels = predicted.max(dim=1)
        self._follow(confidence, labels, predicted)
        used = (confidence >= self.class_thresholds()[labels]).to(predicted.dtype)
        consistency = (used * F.cross_entropy(logits, labels, reduction="none")).mean()
        fairness = self._fairness(logits.softmax(dim=1), used)
        logs = {"used": used.mean(), "threshold": self.threshold.clone(), "fairness": fairness}
        return MethodLoss(consistency + self.fairness_weight * fairness, logs)

    def class_thresholds(self) -> Tensor:
        """``τ_t(c)``, shape ``(K,)``."""
        return self.expectation / self.expectation.max() * self.threshold

    @torch.no_grad()
    def _follow(self, confidence: Tensor, labels: Tensor, predicted: Tensor) -> None:
        classes = predicted.shape[1]
        hard = one_hot(labels, classes, predicted.dtype)
        means = mean_over_ranks(torch.cat([confidence.unsqueeze(1), predicted, hard], dim=1))
        averages = (self.threshold, self.expectation, self.histogram)
        parts = (means[0], means[1 : classes + 1], means[classes + 1 :])
        for average, mean in zip(averages, parts, strict=True):
            average.lerp_(mean.to(average.dtype), 1.0 - self.momentum)

    def _fairness(self, strong: Tensor, used: Tensor) -> Tensor:
        hard = one_hot(strong.argmax(dim=1), strong.shape[1], strong.dtype)
        # Sums will do where the paper has means: what is common to all classes is normalised away.
        sums = torch.cat([(used.unsqueeze(1) * rows).sum(dim=0) for rows in (strong, hard)])
        mean, histogram = sum_over_ranks(sums).chunk(2)
        present = histogram.detach() > 0
        ratio = torch.where(present, mean / histogram.detach().clamp(min=1.0), 0.0)
        balance = ratio / ratio.sum().clamp(min=1e-12)
        target = self.expectation / self.histogram
        # Inside the logarithm too, as 0 times an infinite slope is no number.
        logarithms = torch.where(present, balance, 1.0).log()
        return (target / target.sum() * logarithms).sum()
