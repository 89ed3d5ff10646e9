"""CDAN: features and predictions, together, whose domain can't be told."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from supercm_pl.checks import check_at_least, check_flag
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


class CDAN(AdversarialMethod):
    r"""As DANN, but the discriminator sees the features conditioned on the predictions.

    It reads :math:`h = f \otimes g`, the outer product of features ``(d,)`` and class
    probabilities ``(K,)``; or, where that is large, its random projection
    :math:`h = (R_f f) \odot (R_g g) / \sqrt{m}`, with matrices of standard normal numbers, drawn
    once. With ``entropy``, CDAN+E, sure samples count more:

    .. math::
        w = 1 + e^{-H(g)}, \qquad
        -\tfrac{1}{2} \frac{\sum_s w_s \log D(h_s)}{\sum_s w_s}
        -\tfrac{1}{2} \frac{\sum_t w_t \log(1 - D(h_t))}{\sum_t w_t}.

    Long et al., *Conditional Adversarial Domain Adaptation* (NeurIPS 2018), section 3. Three things
    follow the authors' code, where the paper is silent: the probabilities in ``h`` are
    constants, so only the features learn through it; the entropies are not, and their gradient is
    reversed as well; and weights are normalised in each domain. Labeled target rows are left out.

    Logs ``accuracy``, of the discriminator: 1 where domains are apart, 0.5 where they are not.

    Args:
        weight: Weight of the term, ``>= 0``.
        ramp: How the weight grows over training; ``None``: full from the start.
        entropy: Weight samples by their entropy (CDAN+E).
        randomized: Whether to project at random; ``None``: where ``d * K`` is above 4096, the
            paper's rule.
        random_features: ``m``, the size of the random projection.
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
        entropy: bool = False,
        randomized: bool | None = None,
        random_features: int = 1024,
        reversal: Ramp | None = None,
        max_reversal: float = 1.0,
        hidden_features: Sequence[int] = (1024, 1024),
        batch_norm: bool = True,
    ) -> None:
        super().__init__(weight=weight, ramp=ramp, reversal=reversal, max_reversal=max_reversal)
        check_widths(hidden_features)
        check_at_least("random_features", random_features, 1)
        self.entropy = check_flag("entropy", entropy)
        if randomized is not None:
            check_flag("randomized", randomized)
        self.randomized = randomized
        self.random_features = random_features
        self.hidden_features = tuple(hidden_features)
        self.batch_norm = check_flag("batch_norm", batch_norm)

    def build(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Make the map and the discriminator of what it gives."""
        size = head.in_features * head.num_classes
        randomized = size > 4096 if self.randomized is None else self.randomized
        if randomized:
            size = self.random_features
            self.map: nn.Module = RandomizedMultilinearMap(head.in_features, head.num_classes, size)
        else:
            self.map = MultilinearMap()
        self.discriminator = Discriminator(size, self.hidden_features, self.batch_norm)

    def forward(self, step: UDAStep) -> MethodLoss:
        """The discriminator's cross-entropy, whose gradient is reversed at the features."""
        reversal = self.reversal_at(step.progress)
        features = torch.cat([step.source.features, step.target.features])
        log_probabilities = torch.cat([step.source.logits, step.target.logits]).log_softmax(dim=1)
        probabilities = log_probabilities.exp()
        rows = self.map(reverse_gradient(features, reversal), probabilities.detach())
        logits = self.discriminator(rows)
        weights: tuple[Tensor | None, Tensor | None] = (None, None)
        if self.entropy:
            entropies = -(probabilities * log_probabilities).sum(dim=1)
            weight = 1.0 + torch.exp(-reverse_gradient(entropies, reversal))
            weights = (weight[: step.num_source], weight[step.num_source :])
        source, target = logits[: step.num_source], logits[step.num_source :]
        return MethodLoss(
            domain_loss(source, target, *weights), {"accuracy": domain_accuracy(source, target)}
        )


class MultilinearMap(nn.Module):
    """The outer product of each row's features and probabilities.

    Example:
        >>> rows = MultilinearMap()(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.25, 0.75]]))
        >>> rows.tolist()
        [[0.25, 0.5, 0.75, 0.75, 1.5, 2.25]]
    """

    def forward(self, features: Tensor, probabilities: Tensor) -> Tensor:
        """Outputs ``(N, K * d)`` of features ``(N, d)`` and probabilities ``(N, K)``."""
        return (probabilities[:, :, None] * features[:, None, :]).flatten(start_dim=1)


class RandomizedMultilinearMap(nn.Module):
    r"""A random projection of the outer product that keeps inner products in expectation.

    :math:`(R_f f) \odot (R_g g) / \sqrt{m}`, whose matrices are buffers, and so in the checkpoint.

    Args:
        num_features: ``d``.
        num_classes: ``K``.
        out_features: ``m``.
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
