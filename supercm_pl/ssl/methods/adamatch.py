"""AdaMatch: FixMatch for labeled and unlabeled samples that differ."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supercm_pl.checks import check_at_least, check_fraction
from supercm_pl.clustering import ClusteringHead
from supercm_pl.ssl.pseudo_labels import align, mean_over_ranks, probabilities
from supercm_pl.training.method import Method, MethodLoss
from supercm_pl.training.ramps import CosineRampUp, Ramp
from supercm_pl.training.step import Step


class AdaMatch(Method):
    r"""FixMatch with random logit interpolation, distribution alignment and a relative threshold.

    Berthelot et al., *AdaMatch: A Unified Approach to Semi-Supervised Learning and Domain
    Adaptation* (ICLR 2022), section 3. The labeled rows, weak and strong, go through two forward
    passes: one together with the unlabeled rows, which gives :math:`Z'`, and one by themselves,
    which gives :math:`Z''` and differs by batch norm alone. Their logits are

    .. math::
        Z = \lambda Z' + (1 - \lambda) Z'', \quad \lambda \sim U(0, 1) \text{ for every logit}.

    With the predictions :math:`\hat y` on the weak labeled and :math:`q_b` on the weak unlabeled
    rows, all constants,

    .. math::
        \tilde q_b = \mathrm{Normalize}(q_b \, \mathbb{E}[\hat y] / \mathbb{E}[q]), \quad
        c_\tau = \frac{\tau}{n} \sum_i \max \hat y_i, \quad
        R = \frac{1}{\mu B} \sum_b \mathbb{1}[\max \tilde q_b \ge c_\tau] \;
            H(\arg\max \tilde q_b,\, p_b),

    with :math:`p_b` the prediction on the strong unlabeled row. In place of the labeled samples'
    own loss comes the mean of the cross-entropies of :math:`Z`, weak and strong. Expectations are,
    as in the reference code, a moving average for the labeled rows and the mean of the last batches
    for the unlabeled ones, both from a uniform start. All means are over the rows of all ranks.

    Under the policy ``"all"`` batch norm sees all rows of the first pass together, as published;
    the second pass moves no running statistics, as in the reference code.

    Logged besides: ``used``, the share of rows above the threshold; ``threshold``, :math:`c_\tau`.

    Args:
        threshold: ``τ`` in ``(0, 1)``.
        momentum: Of the moving average of the labeled predictions, in ``(0, 1)``.
        window: Batches in the mean of the unlabeled predictions, 1 or more.
        weight: Weight of the term, ``>= 0``.
        ramp: How the weight grows over training; a number is the end of a
            :class:`~supercm_pl.training.ramps.CosineRampUp`, as published; ``None``: full from the
            start.

    Attributes:
        labeled_mean: ``(K,)``, the expectation of the labeled predictions.
        unlabeled_means: ``(window, K)``, mean predictions of the last unlabeled batches.
        num_batches: Scalar, int64, unlabeled batches so far.

    Raises:
        ValueError: If a value is out of range.
    """

    views = ("weak", "strong")
    labeled_views = ("weak", "strong")
    replaces_supervised = True
    ramp_type = CosineRampUp
    batch_norm_policy = "all"

    labeled_mean: Tensor
    unlabeled_means: Tensor
    num_batches: Tensor

    def __init__(
        self,
        threshold: float = 0.9,
        momentum: float = 0.999,
        window: int = 128,
        weight: float = 1.0,
        ramp: Ramp | float | None = 0.5,
    ) -> None:
        super().__init__(weight, ramp)
        self.threshold = check_fraction("threshold", threshold)
        self.momentum = check_fraction("momentum", momentum)
        check_at_least("window", window, 1)
        self.window = window

    def build(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Make the expectations."""
        uniform = torch.full((head.num_classes,), 1.0 / head.num_classes)
        self.register_buffer("labeled_mean", uniform)
        self.register_buffer("unlabeled_means", uniform.repeat(self.window, 1))
        self.register_buffer("num_batches", torch.tensor(0))

    def forward(self, step: Step) -> MethodLoss:
        """The term on this step's labeled and unlabeled rows."""
        weak, strong = self._interpolated(step).chunk(2)
        supervised = (F.cross_entropy(weak, step.labels) + F.cross_entropy(strong, step.labels)) / 2
        known = probabilities(weak)
        predicted = probabilities(step.unlabeled["weak"].logits)
        certainty = self._follow(known, predicted)
        aligned = align(predicted, self.unlabeled_means.mean(dim=0), self.labeled_mean)
        confidence, labels = aligned.max(dim=1)
        threshold = self.threshold * certainty
        used = (confidence >= threshold).to(predicted.dtype)
        losses = F.cross_entropy(step.unlabeled["strong"].logits, labels, reduction="none")
        logs = {"used": used.mean(), "threshold": threshold}
        return MethodLoss((used * losses).mean(), logs, supervised)

    def _interpolated(self, step: Step) -> Tensor:
        together = torch.cat([step.labeled[view].logits for view in self.labeled_views])
        inputs = torch.cat([step.labeled_inputs[view] for view in self.labeled_views])
        alone = step.forward_frozen_bn(inputs).logits
        return torch.lerp(alone, together, torch.rand_like(together))

    @torch.no_grad()
    def _follow(self, known: Tensor, predicted: Tensor) -> Tensor:
        # Returns the labeled rows' mean confidence, which comes along in the same collective.
        means = mean_over_ranks(torch.cat([known, known.amax(dim=1, keepdim=True)], dim=1))
        self.labeled_mean.lerp_(means[:-1].to(self.labeled_mean.dtype), 1.0 - self.momentum)
        latest = mean_over_ranks(predicted).to(self.unlabeled_means.dtype)
        place = (self.num_batches % self.window).unsqueeze(0)
        self.unlabeled_means.index_copy_(0, place, latest.unsqueeze(0))
        self.num_batches.add_(1)
        return means[-1]
