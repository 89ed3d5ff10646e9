"""DANN: features whose domain can't be told."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from supercm_pl.checks import check_flag
from supercm_pl.clustering import ClusteringHead
from supercm_pl.training.method import MethodLoss, Ramp
from supercm_pl.uda.gradient_reversal import reverse_gradient
from supercm_pl.uda.methods.adversarial import AdversarialMethod
from supercm_pl.uda.methods.discriminator import (
    Discriminator,
    check_widths,
    domain_accuracy,
    domain_loss,
)
from supercm_pl.uda.step import UDAStep


class DANN(AdversarialMethod):
    r"""A discriminator learns to tell the domains apart, and the features learn to prevent it.

    .. math::
        \min_D \max_f \quad
        -\tfrac{1}{2} \mathbb{E}_s \log D(f(x_s)) - \tfrac{1}{2} \mathbb{E}_t \log(1 - D(f(x_t)))

    Ganin et al., *Domain-Adversarial Training of Neural Networks* (JMLR 2016), section 4.
    Several sources are one domain against the target. Labeled target rows are left out.

    Logs ``accuracy``, of the discriminator: 1 where domains are apart, 0.5 where they are not.

    Args:
        weight: Weight of the term, ``>= 0``.
        ramp: How the weight grows over training; ``None``: full from the start.
        reversal: How ``λ`` grows over training; ``None``: the paper's
            :class:`~supercm_pl.training.ramps.AdversarialRampUp`.
        max_reversal: ``λ`` where ``reversal`` is 1, ``>= 0``.
        hidden_features: Widths of the discriminator's hidden layers.
        batch_norm: Whether they have batch norm.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        weight: float = 1.0,
        ramp: Ramp | None = None,
        *,
        reversal: Ramp | None = None,
        max_reversal: float = 1.0,
        hidden_features: Sequence[int] = (1024, 1024),
        batch_norm: bool = True,
    ) -> None:
        super().__init__(weight=weight, ramp=ramp, reversal=reversal, max_reversal=max_reversal)
        check_widths(hidden_features)
        self.hidden_features = tuple(hidden_features)
        self.batch_norm = check_flag("batch_norm", batch_norm)

    def build(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Make the discriminator of ``d`` features."""
        self.discriminator = Discriminator(head.in_features, self.hidden_features, self.batch_norm)

    def forward(self, step: UDAStep) -> MethodLoss:
        """The discriminator's cross-entropy, whose gradient is reversed at the features."""
        features = torch.cat([step.source.features, step.target.features])
        features = reverse_gradient(features, self.reversal_at(step.progress))
        logits = self.discriminator(features)
        source, target = logits[: step.num_source], logits[step.num_source :]
        return MethodLoss(
            domain_loss(source, target), {"accuracy": domain_accuracy(source, target)}
        )
