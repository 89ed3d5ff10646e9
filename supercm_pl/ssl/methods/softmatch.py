"""SoftMatch: every pseudo-label counts, by a truncated Gaussian of its confidence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from supercm_pl.checks import check_flag, check_fraction, check_positive
from supercm_pl.clustering import ClusteringHead
from supercm_pl.distributed import mean_over_ranks, sum_over_ranks
from supercm_pl.ssl.components.pseudo_labels import align, probabilities, pseudo_label_loss
from supercm_pl.training.method import Method, MethodLoss, Ramp, Step


class SoftMatch(Method):
    r"""FixMatch with a weight for each sample in place of a threshold.

    Chen et al., *SoftMatch: Addressing the Quantity-Quality Trade-off in Semi-supervised Learning*
    (ICLR 2023). With the predictions :math:`q_b` on the weak view, without gradient, and
    :math:`p_b` on the strong view,

    .. math::
        R = \frac{1}{\mu B} \sum_b \lambda(\mathrm{UA}(q_b)) \, H(\arg\max q_b,\, p_b), \quad
        \lambda(q) = \exp\Bigl(-\frac{\min(\max q - \mu_t, 0)^2}{2 (\sigma_t / n)^2}\Bigr).

    Mean :math:`\mu_t` and variance :math:`\sigma_t^2` (unbiased) of :math:`\max q` over the batch
    are moving averages, which start at :math:`1/K` and 1. Uniform alignment,
    :math:`\mathrm{UA}(q) = \mathrm{Normalize}(q / (K \, \mathbb{E}[q]))`, balances the classes in
    the weights, not in the pseudo-labels; the expectation is a moving average that starts at the
    mean of the first batch. The paper has :math:`n = 1`; the authors' code has the default here,
    2, and normalizes all samples together by batch norm. All statistics are over all ranks.

    Logs ``used``, the mean weight; ``mean`` and ``variance``, :math:`\mu_t` and
    :math:`\sigma_t^2`.

    Args:
        momentum: Of the moving averages, in ``(0, 1)``.
        num_sigmas: ``n > 0``: at ``1/n`` standard deviations below the mean, the weight is
            ``exp(-1/2)``.
        uniform_alignment: Whether to align the predictions before they are weighted.

    Attributes:
        mean: Scalar, ``μ_t``.
        variance: Scalar, ``σ_t²``.
        expectation: ``(K,)``, the mean prediction; zeros before the first step.
    """

    views = ("weak", "strong")

    mean: Tensor
    variance: Tensor
    expectation: Tensor

    def __init__(
        self,
        *,
        momentum: float = 0.999,
        num_sigmas: float = 2.0,
        uniform_alignment: bool = True,
        weight: float = 1.0,
        ramp: Ramp | float | None = None,
    ) -> None:
        super().__init__(weight=weight, ramp=ramp)
        self.momentum = check_fraction("momentum", momentum)
        self.num_sigmas = check_positive("num_sigmas", num_sigmas)
        self.uniform_alignment = check_flag("uniform_alignment", uniform_alignment)

    def build(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Create the moving averages."""
        self.register_buffer("mean", torch.tensor(1.0 / head.num_classes))
        self.register_buffer("variance", torch.tensor(1.0))
        self.register_buffer("expectation", torch.zeros(head.num_classes))

    def forward(self, step: Step) -> MethodLoss:
        """Return the loss of the weak and strong views of the unlabeled samples."""
        predicted = probabilities(step.unlabeled["weak"].logits)
        weights = self._weights(self._aligned(predicted).amax(dim=1))
        labels = predicted.argmax(dim=1)
        logs = {
            "used": weights.mean(),
            "mean": self.mean.clone(),
            "variance": self.variance.clone(),
        }
        loss = pseudo_label_loss(step.unlabeled["strong"].logits, labels, weights)
        return MethodLoss(loss, logs)

    @torch.no_grad()
    def _aligned(self, predicted: Tensor) -> Tensor:
        if not self.uniform_alignment:
            return predicted
        mean = mean_over_ranks(predicted).to(self.expectation.dtype)
        # A mean prediction is never all zeros: zeros mark the first batch.
        first = self.expectation.sum() == 0
        self.expectation.copy_(
            torch.where(first, mean, self.expectation.lerp(mean, 1.0 - self.momentum))
        )
        uniform = torch.full_like(self.expectation, 1.0 / len(self.expectation))
        return align(predicted, self.expectation, uniform)

    @torch.no_grad()
    def _weights(self, confidence: Tensor) -> Tensor:
        # Squares of deviations from the last mean, the same on all ranks, lose no digits.
        deviation = confidence - self.mean
        sums = torch.stack([deviation.sum(), deviation.square().sum()])
        total, squares, count = sum_over_ranks(
            torch.cat([sums, sums.new_full((1,), len(confidence))])
        ).unbind()
        mean = total / count
        variance = (squares - total * mean) / (count - 1).clamp(min=1)
        rate = 1.0 - self.momentum
        self.mean.add_((rate * mean).to(self.mean.dtype))
        self.variance.lerp_(variance.clamp(min=0).to(self.variance.dtype), rate)
        below = (confidence - self.mean).clamp(max=0)
        return torch.exp(-0.5 * self.num_sigmas**2 * below.square() / self.variance)
