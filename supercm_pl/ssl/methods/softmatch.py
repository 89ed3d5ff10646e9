"""SoftMatch: every pseudo-label counts, by a truncated Gaussian of its confidence."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supercm_pl.checks import check_flag, check_fraction, check_positive
from supercm_pl.clustering import ClusteringHead
from supercm_pl.distributed import sum_over_ranks
from supercm_pl.ssl.pseudo_labels import align, mean_over_ranks, probabilities
from supercm_pl.training.method import Method, MethodLoss
from supercm_pl.training.ramps import Ramp
from supercm_pl.training.step import Step


class SoftMatch(Method):
    r"""FixMatch with a weight for each row in place of a threshold.

    Chen et al., *SoftMatch: Addressing the Quantity-Quality Trade-off in Semi-supervised Learning*
    (ICLR 2023). With :math:`q_b` the prediction on the weak view, a constant, and :math:`p_b` that
    on the strong one,

    .. math::
        R = \frac{1}{\mu B} \sum_b \lambda(\mathrm{UA}(q_b)) \, H(\arg\max q_b,\, p_b), \quad
        \lambda(q) = \exp\Bigl(-\frac{\min(\max q - \mu_t, 0)^2}{2 (\sigma_t / n)^2}\Bigr).

    Mean :math:`\mu_t` and variance :math:`\sigma_t^2` (unbiased) of :math:`\max q` over the batch
    are moving averages, which start at :math:`1/K` and 1. Uniform alignment,
    :math:`\mathrm{UA}(q) = \mathrm{Normalize}(q / (K \, \mathbb{E}[q]))`, with the expectation a
    moving average that starts at the first batch's mean, balances the classes in the weights alone:
    the pseudo-label is that of :math:`q` itself. The paper writes :math:`n = 1`; the
    authors' code has ``n = 2``, which is the default here. All statistics are over the rows of all
    ranks. Batch norm sees all rows together, as in the authors' code.

    Logged besides: ``used``, the mean weight; ``mean`` and ``variance``, :math:`\mu_t` and
    :math:`\sigma_t^2`.

    Args:
        momentum: Of the moving averages, in ``(0, 1)``.
        num_sigmas: ``n > 0``: at ``1/n`` standard deviations below the mean, the weight is
            ``exp(-1/2)``.
        uniform_alignment: Align the predictions before they are weighed.
        weight: Weight of the term, ``>= 0``.
        ramp: How the weight grows over training; ``None``: full from the start, as published.

    Attributes:
        mean: Scalar, ``μ_t``.
        variance: Scalar, ``σ_t²``.
        expectation: ``(K,)``, the mean prediction; zeros before the first step.

    Raises:
        ValueError: If a value is out of range.
    """

    views = ("weak", "strong")
    batch_norm_policy = "all"

    mean: Tensor
    variance: Tensor
    expectation: Tensor

    def __init__(
        self,
        momentum: float = 0.999,
        num_sigmas: float = 2.0,
        uniform_alignment: bool = True,
        weight: float = 1.0,
        ramp: Ramp | None = None,
    ) -> None:
        super().__init__(weight, ramp)
        self.momentum = check_fraction("momentum", momentum)
        self.num_sigmas = check_positive("num_sigmas", num_sigmas)
        self.uniform_alignment = check_flag("uniform_alignment", uniform_alignment)

    def build(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Make the moving averages."""
        self.register_buffer("mean", torch.tensor(1.0 / head.num_classes))
        self.register_buffer("variance", torch.tensor(1.0))
        self.register_buffer("expectation", torch.zeros(head.num_classes))

    def forward(self, step: Step) -> MethodLoss:
        """The term on the weak and strong view of this step's unlabeled rows."""
        predicted = probabilities(step.unlabeled["weak"].logits)
        weights = self._weights(self._aligned(predicted).amax(dim=1))
        labels = predicted.argmax(dim=1)
        losses = F.cross_entropy(step.unlabeled["strong"].logits, labels, reduction="none")
        logs = {
            "used": weights.mean(),
            "mean": self.mean.clone(),
            "variance": self.variance.clone(),
        }
        return MethodLoss((weights * losses).mean(), logs)

    @torch.no_grad()
    def _aligned(self, predicted: Tensor) -> Tensor:
        if not self.uniform_alignment:
            return predicted
        mean = mean_over_ranks(predicted).to(self.expectation.dtype)
        # Zeros, which no mean prediction is, say that this is the first batch.
        first = self.expectation.sum() == 0
        self.expectation.copy_(
            torch.where(first, mean, self.expectation.lerp(mean, 1.0 - self.momentum))
        )
        uniform = torch.full_like(self.expectation, 1.0 / len(self.expectation))
        return align(predicted, self.expectation, uniform)

    @torch.no_grad()
    def _weights(self, confidence: Tensor) -> Tensor:
        # Deviations from the last mean, which all ranks know: squares of them lose no digits.
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
