"""The domain discriminator of adversarial methods, and its loss."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supercm_pl.checks import check_flag, check_size, check_sizes
from supercm_pl.distributed import sum_over_ranks
from supercm_pl.precision import math_dtype


class Discriminator(nn.Module):
    """A multilayer perceptron with one logit, above 0 for the source.

    The hidden layers are linear, batch norm and ReLU. The default, three linear layers with 1024
    hidden units, is the one behind the published figures on Office-31. Batch norm keeps no running
    statistics: a discriminator is only used in training, on both domains at once.

    Args:
        hidden_features: Widths of the hidden layers, ``>= 1``; none is logistic regression.
        batch_norm: Whether hidden layers have batch norm.

    Example:
        >>> discriminator = Discriminator(hidden_features=(8,))
        >>> discriminator.build(in_features=16)
        >>> discriminator(torch.zeros(4, 16)).shape
        torch.Size([4])
    """

    layers: nn.Sequential

    def __init__(
        self, hidden_features: Sequence[int] = (1024, 1024), batch_norm: bool = True
    ) -> None:
        super().__init__()
        self.hidden_features = check_sizes("hidden_features", hidden_features, least=0)
        self.batch_norm = check_flag("batch_norm", batch_norm)

    def build(self, in_features: int) -> None:
        """Create the layers for inputs ``(N, in_features)``."""
        widths = [check_size("in_features", in_features), *self.hidden_features]
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise(widths):
            # The shift of batch norm replaces a bias.
            layers.append(nn.Linear(width_in, width_out, bias=not self.batch_norm))
            if self.batch_norm:
                layers.append(nn.BatchNorm1d(width_out, track_running_stats=False))
            layers.append(nn.ReLU())
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``(N,)`` of inputs ``(N, in_features)``, above 0 for the source."""
        logits: Tensor = self.layers(inputs)
        return logits.squeeze(1)

    def loss(
        self, inputs: Tensor, num_source: int, weights: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The :func:`domain_loss` of inputs, the first ``num_source`` from the source, and logs.

        Inputs are ``(N, in_features)``, and weights ``(N,)`` above 0, or ``None`` if all are equal.
        """
        logits = self(inputs)
        source, target = logits[:num_source], logits[num_source:]
        if weights is None:
            loss = domain_loss(source, target)
        else:
            loss = domain_loss(source, target, weights[:num_source], weights[num_source:])
        return loss, {"accuracy": domain_accuracy(source, target)}


def domain_loss(
    source_logits: Tensor,
    target_logits: Tensor,
    source_weights: Tensor | None = None,
    target_weights: Tensor | None = None,
) -> Tensor:
    r"""Cross-entropy of telling source (1) from target (0), each domain weighted one half.

    .. math::
        -\frac{1}{2} \frac{\sum_i w_i \log \sigma(z^s_i)}{\sum_i w_i}
        -\frac{1}{2} \frac{\sum_j w_j \log (1 - \sigma(z^t_j))}{\sum_j w_j}

    For batches of equal size, and without weights, it is the mean over all samples. No gradient
    flows through the sums of the weights, which are over all ranks: with weights, every rank has
    to call this. It is computed in float32, or float64 for float64 logits.

    Args:
        source_logits: ``(N_s,)``.
        target_logits: ``(N_t,)``.
        source_weights: ``(N_s,)``, above 0; ``None``: all samples count the same.
        target_weights: ``(N_t,)``, given if and only if the others are.

    Returns:
        A scalar; log 2 ≈ 0.69 where the domains cannot be told apart.

    Example:
        >>> round(domain_loss(torch.zeros(3), torch.zeros(5)).item(), 4)
        0.6931
    """
    source, target = _cross_entropy(source_logits, True), _cross_entropy(target_logits, False)
    if source_weights is None or target_weights is None:
        return 0.5 * (source.mean() + target.mean())
    sums = torch.stack([source_weights.sum(), target_weights.sum()]).detach()
    # Divided by the mean sum of the ranks, the mean of the ranks' losses is the loss of all
    # samples.
    shared = sum_over_ranks(torch.cat([sums, torch.ones_like(sums[:1])]))
    sums = shared[:2] / shared[2]
    return 0.5 * (
        (source_weights * source).sum() / sums[0] + (target_weights * target).sum() / sums[1]
    )


@torch.no_grad()
def domain_accuracy(source_logits: Tensor, target_logits: Tensor) -> Tensor:
    """Fraction of samples whose domain is right, each domain weighted one half; a scalar.

    Logits are ``(N_s,)`` and ``(N_t,)``.
    """
    source, target = (source_logits > 0).float().mean(), (target_logits <= 0).float().mean()
    return 0.5 * (source + target)


def _cross_entropy(logits: Tensor, is_source: bool) -> Tensor:
    wide = logits.to(math_dtype(logits))
    labels = torch.full_like(wide, float(is_source))
    return F.binary_cross_entropy_with_logits(wide, labels, reduction="none")
