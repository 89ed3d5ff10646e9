"""FreeMatch: thresholds and class balance that adapt by themselves."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from supercm_pl.checks import check_fraction, check_not_negative
from supercm_pl.clustering import ClusteringHead
from supercm_pl.distributed import mean_over_ranks, sum_over_ranks
from supercm_pl.ssl.components.pseudo_labels import one_hot, probabilities, pseudo_label_loss
from supercm_pl.training.method import Method, MethodLoss, Ramp, Step


class FreeMatch(Method):
    r"""FixMatch with self-adaptive thresholds and a self-adaptive fairness loss.

    Wang et al., *FreeMatch: Self-adaptive Thresholding for Semi-supervised Learning* (ICLR 2023).
    With :math:`q_b` the prediction on the weak view, without gradient, the global threshold and
    the expectation of each class are moving averages (eqs. 5 and 6), and give a threshold for each
    class (eq. 7):

    .. math::
        \tau_t = m \tau_{t-1} + \tfrac{1 - m}{\mu B} \textstyle\sum_b \max q_b, \quad
        \tilde p_t = m \tilde p_{t-1} + \tfrac{1 - m}{\mu B} \sum_b q_b, \quad
        \tau_t(c) = \frac{\tilde p_t(c)}{\max_k \tilde p_t(k)} \, \tau_t,

    which start at :math:`1/K`. The loss is :math:`R = L_u + w_f L_f`, with (eq. 8)

    .. math::
        L_u = \frac{1}{\mu B} \sum_b \mathbb{1}[\max q_b \ge \tau_t(\arg\max q_b)] \;
              H(\arg\max q_b,\, Q_b)

    on the predictions :math:`Q_b` on the strong view, and (eqs. 9 to 11)

    .. math::
        L_f = -H\bigl(\mathrm{SumNorm}(\tilde p_t / \tilde h_t),\,
              \mathrm{SumNorm}(\bar p / \bar h)\bigr),

    where :math:`\bar p` and :math:`\bar h` are mean and histogram of the predictions on the strong
    views above their threshold, and :math:`\tilde h_t` is the moving average of the histogram on
    the weak views. As in the authors' code, classes absent from :math:`\bar h` have no gradient,
    and batch norm normalizes all samples together. All means are over all ranks.

    Logs ``used``, the fraction of samples above their threshold; ``threshold``, the global one;
    and ``fairness``, :math:`L_f`.

    Args:
        momentum: ``m`` in ``(0, 1)``.
        fairness_weight: ``w_f >= 0``; the authors' later code has 0.001 for CIFAR.

    Attributes:
        threshold: Scalar, the global threshold.
        expectation: ``(K,)``, the mean prediction.
        histogram: ``(K,)``, the fraction of each class in the pseudo-labels.
    """

    views = ("weak", "strong")

    threshold: Tensor
    expectation: Tensor
    histogram: Tensor

    def __init__(
        self,
        *,
        momentum: float = 0.999,
        fairness_weight: float = 0.05,
        weight: float = 1.0,
        ramp: Ramp | float | None = None,
    ) -> None:
        super().__init__(weight=weight, ramp=ramp)
        self.momentum = check_fraction("momentum", momentum)
        self.fairness_weight = check_not_negative("fairness_weight", fairness_weight)

    def build(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Create the moving averages."""
        classes = head.num_classes
        self.register_buffer("threshold", torch.tensor(1.0 / classes))
        self.register_buffer("expectation", torch.full((classes,), 1.0 / classes))
        self.register_buffer("histogram", torch.full((classes,), 1.0 / classes))

    def forward(self, step: Step) -> MethodLoss:
        """Return the loss of the weak and strong views of the unlabeled samples."""
        predicted = probabilities(step.unlabeled["weak"].logits)
        logits = step.unlabeled["strong"].logits
        confidence, labels = predicted.max(dim=1)
        self._update(confidence, labels, predicted)
        used = (confidence >= self.class_thresholds()[labels]).to(predicted.dtype)
        consistency = pseudo_label_loss(logits, labels, used)
        fairness = self._fairness(logits.softmax(dim=1), used)
        logs = {"used": used.mean(), "threshold": self.threshold.clone(), "fairness": fairness}
        return MethodLoss(consistency + self.fairness_weight * fairness, logs)

    def class_thresholds(self) -> Tensor:
        """``τ_t(c)``, shape ``(K,)``."""
        return self.expectation / self.expectation.max() * self.threshold

    @torch.no_grad()
    def _update(self, confidence: Tensor, labels: Tensor, predicted: Tensor) -> None:
        classes = predicted.shape[1]
        hard = one_hot(labels, classes, predicted.dtype)
        means = mean_over_ranks(torch.cat([confidence.unsqueeze(1), predicted, hard], dim=1))
        averages = (self.threshold, self.expectation, self.histogram)
        parts = (means[0], means[1 : classes + 1], means[classes + 1 :])
        for average, mean in zip(averages, parts, strict=True):
            average.lerp_(mean.to(average.dtype), 1.0 - self.momentum)

    def _fairness(self, strong: Tensor, used: Tensor) -> Tensor:
        hard = one_hot(strong.argmax(dim=1), strong.shape[1], strong.dtype)
        # Sums in place of the paper's means: the normalization cancels their common factor.
        sums = torch.cat([(used.unsqueeze(1) * values).sum(dim=0) for values in (strong, hard)])
        mean, histogram = sum_over_ranks(sums).chunk(2)
        present = histogram.detach() > 0
        ratio = torch.where(present, mean / histogram.detach().clamp(min=1.0), 0.0)
        balance = ratio / ratio.sum().clamp(min=1e-12)
        target = self.expectation / self.histogram
        # Absent classes are masked inside the logarithm too: 0 times an infinite slope is NaN.
        logarithms = torch.where(present, balance, 1.0).log()
        return (target / target.sum() * logarithms).sum()
