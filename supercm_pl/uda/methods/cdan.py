"""CDAN: features and predictions whose domain cannot be told together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from supercm_pl.checks import check_at_least, check_flag, check_optional
from supercm_pl.clustering import ClusteringHead
from supercm_pl.training.method import MethodLoss, Ramp
from supercm_pl.uda.components.adversarial import AdversarialMethod
from supercm_pl.uda.components.discriminator import Discriminator
from supercm_pl.uda.step import UDAStep


class CDAN(AdversarialMethod):
    r"""As DANN, but the discriminator reads the features conditioned on the predictions.

    It reads :math:`h = f \otimes g`, the outer product of features ``(d,)`` and class
    probabilities ``(K,)``; or, where that is large, its random projection
    :math:`h = (R_f f) \odot (R_g g) / \sqrt{m}`, with matrices of standard normal numbers, drawn
    once. With ``entropy``, CDAN+E, confident samples count more:

    .. math::
        w = 1 + e^{-H(g)}, \qquad
        -\tfrac{1}{2} \frac{\sum_s w_s \log D(h_s)}{\sum_s w_s}
        -\tfrac{1}{2} \frac{\sum_t w_t \log(1 - D(h_t))}{\sum_t w_t}.

    Long et al., *Conditional Adversarial Domain Adaptation* (NeurIPS 2018), section 3. Where the
    paper is silent, this follows the authors' code: the probabilities in ``h`` have no gradient,
    so only the features learn through it; the entropies have one, which is reversed as well; and
    weights are normalized in each domain. Labeled target samples are left out.

    Logs ``accuracy`` of the discriminator: 1 where the domains are separable, 0.5 where they are
    not.

    Args:
        entropy: Whether to weight samples by their entropy (CDAN+E).
        randomized: Whether to project at random; ``None``: where ``d * K`` is above 4096, the
            paper's rule.
        random_features: ``m``, the size of the random projection, ``>= 1``.
        hidden_features: Widths of the discriminator's hidden layers, ``>= 1``.
        batch_norm: Whether they have batch norm.
    """

    def __init__(
        self,
        *,
        entropy: bool = False,
        randomized: bool | None = None,
        random_features: int = 1024,
        hidden_features: Sequence[int] = (1024, 1024),
        batch_norm: bool = True,
        reversal: Ramp | int | None = None,
        max_reversal: float = 1.0,
        weight: float = 1.0,
        ramp: Ramp | float | None = None,
    ) -> None:
        super().__init__(reversal=reversal, max_reversal=max_reversal, weight=weight, ramp=ramp)
        self.entropy = check_flag("entropy", entropy)
        self.randomized = check_optional(check_flag, "randomized", randomized)
        self.random_features = check_at_least("random_features", random_features, 1)
        self.discriminator = Discriminator(hidden_features, batch_norm)

    def build(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Create the map and the discriminator of its outputs."""
        size = head.in_features * head.num_classes
        randomized = size > 4096 if self.randomized is None else self.randomized
        if randomized:
            size = self.random_features
            self.map: nn.Module = RandomizedMultilinearMap(head.in_features, head.num_classes, size)
        else:
            self.map = MultilinearMap()
        self.discriminator.build(size)

    def forward(self, step: UDAStep) -> MethodLoss:
        """Return the discriminator's loss, with its gradient reversed at the features."""
        features = torch.cat([step.source.features, step.target.features])
        log_probabilities = torch.cat([step.source.logits, step.target.logits]).log_softmax(dim=1)
        probabilities = log_probabilities.exp()
        inputs = self.map(self.reverse(features, step), probabilities.detach())
        weights = None
        if self.entropy:
            entropies = -(probabilities * log_probabilities).sum(dim=1)
            weights = 1.0 + torch.exp(-self.reverse(entropies, step))
        return MethodLoss(*self.discriminator.loss(inputs, step.num_source, weights))


class MultilinearMap(nn.Module):
    """The outer product of the features and probabilities of each sample.

    Example:
        >>> h = MultilinearMap()(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.25, 0.75]]))
        >>> h.tolist()
        [[0.25, 0.5, 0.75, 0.75, 1.5, 2.25]]
    """

    def forward(self, features: Tensor, probabilities: Tensor) -> Tensor:
        """Outputs ``(N, K * d)`` of features ``(N, d)`` and probabilities ``(N, K)``."""
        return (probabilities[:, :, None] * features[:, None, :]).flatten(start_dim=1)


class RandomizedMultilinearMap(nn.Module):
    r"""A random projection of the outer product, which keeps inner products in expectation.

    :math:`(R_f f) \odot (R_g g) / \sqrt{m}` of ``(d,)`` and ``(K,)``, with matrices as buffers, so
    that checkpoints have them.
    """

    feature_matrix: Tensor
    class_matrix: Tensor

    def __init__(self, num_features: int, num_classes: int, out_features: int) -> None:
        super().__init__()
        self.register_buffer("feature_matrix", torch.randn(num_features, out_features))
        self.register_buffer("class_matrix", torch.randn(num_classes, out_features))

    def forward(self, features: Tensor, probabilities: Tensor) -> Tensor:
        """Outputs ``(N, m)`` of features ``(N, d)`` and probabilities ``(N, K)``."""
        projected: Tensor = (features.to(self.feature_matrix.dtype) @ self.feature_matrix) * (
            probabilities.to(self.class_matrix.dtype) @ self.class_matrix
        )
        return projected / math.sqrt(self.feature_matrix.shape[1])
