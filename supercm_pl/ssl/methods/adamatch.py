"""AdaMatch: FixMatch for labeled and unlabeled samples that differ."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supercm_pl.checks import check_at_least, check_fraction
from supercm_pl.clustering import ClusteringHead
from supercm_pl.distributed import mean_over_ranks
from supercm_pl.ssl.components.pseudo_labels import align, probabilities, pseudo_label_loss
from supercm_pl.training.method import Method, MethodLoss, Ramp, Step
from supercm_pl.training.ramps import CosineRampUp


class AdaMatch(Method):
    r"""FixMatch with random logit interpolation, distribution alignment and a relative threshold.

    Berthelot et al., *AdaMatch: A Unified Approach to Semi-Supervised Learning and Domain
    Adaptation* (ICLR 2022), section 3. The weak and strong views of the labeled samples go through
    two forward passes: together with the unlabeled samples, which gives :math:`Z'`, and by
    themselves, which gives :math:`Z''` and differs only by batch norm. Their logits are

    .. math::
        Z = \lambda Z' + (1 - \lambda) Z'', \quad \lambda \sim U(0, 1) \text{ for every logit}.

    With the predictions :math:`\hat y` on the weak labeled and :math:`q_b` on the weak unlabeled
    views, both without gradient, and :math:`p_b` on the strong unlabeled view,

    .. math::
        \tilde q_b = \mathrm{Normalize}(q_b \, \mathbb{E}[\hat y] / \mathbb{E}[q]), \quad
        c_\tau = \frac{\tau}{n} \sum_i \max \hat y_i, \quad
        R = \frac{1}{\mu B} \sum_b \mathbb{1}[\max \tilde q_b \ge c_\tau] \;
            H(\arg\max \tilde q_b,\, p_b).

    The mean of the cross-entropies of :math:`Z`, weak and strong, replaces the cross-entropy of
    the labeled samples. As in the reference code, the expectation is a moving average for the
    labeled samples and the mean of the last batches for the unlabeled ones, both from a uniform
    start, and the second pass records no running statistics. All means are over all ranks.

    Logs ``used``, the fraction of samples above the threshold, and ``threshold``, :math:`c_\tau`.

    Args:
        threshold: ``τ`` in ``(0, 1)``.
        momentum: Of the moving average of the labeled predictions, in ``(0, 1)``.
        window: Batches in the mean of the unlabeled predictions, ``>= 1``.
        ramp: Growth of the weight; a number is the end of a
            :class:`~supercm_pl.training.ramps.CosineRampUp`, as published.

    Attributes:
        labeled_mean: ``(K,)``, the expectation of the labeled predictions.
        unlabeled_means: ``(window, K)``, mean predictions of the last unlabeled batches.
        num_batches: Scalar, int64, unlabeled batches so far.
    """

    views = ("weak", "strong")
    labeled_views = ("weak", "strong")
    replaces_supervised = True
    joint_batch_norm = True
    ramp_type = CosineRampUp

    labeled_mean: Tensor
    unlabeled_means: Tensor
    num_batches: Tensor

    def __init__(
        self,
        *,
        threshold: float = 0.9,
        momentum: float = 0.999,
        window: int = 128,
        weight: float = 1.0,
        ramp: Ramp | float | None = 0.5,
    ) -> None:
        super().__init__(weight=weight, ramp=ramp)
        self.threshold = check_fraction("threshold", threshold)
        self.momentum = check_fraction("momentum", momentum)
        self.window = check_at_least("window", window, 1)

    def build(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Create the expectations."""
        uniform = torch.full((head.num_classes,), 1.0 / head.num_classes)
        self.register_buffer("labeled_mean", uniform)
        self.register_buffer("unlabeled_means", uniform.repeat(self.window, 1))
        self.register_buffer("num_batches", torch.tensor(0))

    def forward(self, step: Step) -> MethodLoss:
        """Return the loss of all views of the labeled and unlabeled samples."""
        weak, strong = self._interpolated(step).chunk(2)
        supervised = (F.cross_entropy(weak, step.labels) + F.cross_entropy(strong, step.labels)) / 2
        predicted = probabilities(step.unlabeled["weak"].logits)
        threshold = self.threshold * self._update(probabilities(weak), predicted)
        aligned = align(predicted, self.unlabeled_means.mean(dim=0), self.labeled_mean)
        confidence, labels = aligned.max(dim=1)
        used = (confidence >= threshold).to(predicted.dtype)
        loss = pseudo_label_loss(step.unlabeled["strong"].logits, labels, used)
        return MethodLoss(loss, {"used": used.mean(), "threshold": threshold}, supervised)

    def _interpolated(self, step: Step) -> Tensor:
        together = torch.cat([step.labeled[view].logits for view in self.labeled_views])
        inputs = torch.cat([step.labeled_inputs[view] for view in self.labeled_views])
        alone = step.forward_frozen_bn(inputs).logits
        return torch.lerp(alone, together, torch.rand_like(together))

    @torch.no_grad()
    def _update(self, labeled: Tensor, unlabeled: Tensor) -> Tensor:
        # Returns the mean confidence on the labeled samples, from the same collective.
        means = mean_over_ranks(torch.cat([labeled, labeled.amax(dim=1, keepdim=True)], dim=1))
        self.labeled_mean.lerp_(means[:-1].to(self.labeled_mean.dtype), 1.0 - self.momentum)
        latest = mean_over_ranks(unlabeled).to(self.unlabeled_means.dtype)
        place = (self.num_batches % self.window).unsqueeze(0)
        self.unlabeled_means.index_copy_(0, place, latest.unsqueeze(0))
        self.num_batches.add_(1)
        return means[-1]
