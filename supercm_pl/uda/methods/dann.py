"""DANN: features whose domain cannot be told."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from supercm_pl.clustering import ClusteringHead
from supercm_pl.training.method import MethodLoss, Ramp
from supercm_pl.uda.components.adversarial import AdversarialMethod
from supercm_pl.uda.components.discriminator import Discriminator
from supercm_pl.uda.step import UDAStep


class DANN(AdversarialMethod):
    r"""A discriminator learns to tell the domains apart, and the features learn to prevent it.

    .. math::
        \min_D \max_f \quad
        -\tfrac{1}{2} \mathbb{E}_s \log D(f(x_s)) - \tfrac{1}{2} \mathbb{E}_t \log(1 - D(f(x_t)))

    Ganin et al., *Domain-Adversarial Training of Neural Networks* (JMLR 2016), section 4.
    Several sources are one domain against the target. Labeled target samples are left out.

    Logs ``accuracy`` of the discriminator: 1 where the domains are separable, 0.5 where they are
    not.

    Args:
        hidden_features: Widths of the discriminator's hidden layers, ``>= 1``.
        batch_norm: Whether they have batch norm.
    """

    def __init__(
        self,
        *,
        hidden_features: Sequence[int] = (1024, 1024),
        batch_norm: bool = True,
        reversal: Ramp | int | None = None,
        max_reversal: float = 1.0,
        weight: float = 1.0,
        ramp: Ramp | float | None = None,
    ) -> None:
        super().__init__(reversal=reversal, max_reversal=max_reversal, weight=weight, ramp=ramp)
        self.discriminator = Discriminator(hidden_features, batch_norm)

    def build(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Create the discriminator of the features."""
        self.discriminator.build(head.in_features)

    def forward(self, step: UDAStep) -> MethodLoss:
        """Return the discriminator's loss, with its gradient reversed at the features."""
        features = torch.cat([step.source.features, step.target.features])
        return MethodLoss(*self.discriminator.loss(self.reverse(features, step), step.num_source))
