"""The domain discriminator of adversarial adaptation, and its loss."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supercm_pl.checks import check_at_least
from supercm_pl.distributed import sum_over_ranks
from supercm_pl.precision import math_dtype


class Discriminator(nn.Module):
    """A multilayer perceptron with one logit, of a row being from the source.

    The hidden layers are linear, batch norm and ReLU. The default, three linear layers with 1024
    hidden units, is the one with which the field's figures on Office-31 are made. Batch norm
    keeps no running statistics: a discriminator is used in training alone, on both domains at once.

    Args:
        in_features: Size of a row, ``>= 1``.
        hidden_features: Widths of the hidden layers; none is logistic regression.
        batch_norm: Whether hidden layers have batch norm.

    Raises:
        ValueError: If a width is below 1.

    Example:
        >>> Discriminator(16, hidden_features=(8,))(torch.zeros(4, 16)).shape
        torch.Size([4])
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: Sequence[int] = (1024, 1024),
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        check_widths(hidden_features)
        check_at_least("in_features", in_features, 1)
        widths = [in_features, *hidden_features]
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise(widths):
            # The batch norm's shift does the work of a bias.
            layers.append(nn.Linear(width_in, width_out, bias=not batch_norm))
            if batch_norm:
                layers.append(nn.BatchNorm1d(width_out, track_running_stats=False))
            layers.append(nn.ReLU())
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, rows: Tensor) -> Tensor:
        """Logits ``(N,)`` of rows ``(N, in_features)``, above 0 for the source."""
        logits: Tensor = self.layers(rows)
        return logits.squeeze(1)


def domain_loss(
    source_logits: Tensor,
    target_logits: Tensor,
    source_weights: Tensor | None = None,
    target_weights: Tensor | None = None,
) -> Tensor:
    r"""Cross-entropy of telling the source (1) from the target (0), each of them one half.

    .. math::
        -\frac{1}{2} \frac{\sum_i w_i \log \sigma(z^s_i)}{\sum_i w_i}
        -\frac{1}{2} \frac{\sum_j w_j \log (1 - \sigma(z^t_j))}{\sum_j w_j}

    For batches of one size, and without weights, it is the mean over all rows. No gradient flows
    through the sums of the weights, which are over all ranks: with weights, every rank has to call
    this. It is computed in float32, or float64 for float64 logits.

    Args:
        source_logits: ``(N_s,)``.
        target_logits: ``(N_t,)``.
        source_weights: ``(N_s,)``, above 0; ``None``: all rows count the same.
        target_weights: ``(N_t,)``, given if and only if the others are.

    Returns:
        A scalar; 0.69, which is log 2, where the domains can't be told apart.

    Example:
        >>> round(domain_loss(torch.zeros(3), torch.zeros(5)).item(), 4)
        0.6931
    """
    source, target = _cross_entropy(source_logits, True), _cross_entropy(target_logits, False)
    if source_weights is None or target_weights is None:
        return 0.5 * (source.mean() + target.mean())
    sums = torch.stack([source_weights.sum(), target_weights.sum()]).detach()
    # Over the mean sum of all ranks, the mean of the ranks' losses is the loss of all rows.
    shared = sum_over_ranks(torch.cat([sums, torch.ones_like(sums[:1])]))
    sums = shared[:2] / shared[2]
    return 0.5 * (
        (source_weights * source).sum() / sums[0] + (target_weights * target).sum() / sums[1]
    )


@torch.no_grad()
def domain_accuracy(source_logits: Tensor, target_logits: Tensor) -> Tensor:
    """Fraction of rows whose domain is told right, each domain one half; a scalar.

    Args:
        source_logits: ``(N_s,)``.
        target_logits: ``(N_t,)``.
    """
    source, target = (source_logits > 0).float().mean(), (target_logits <= 0).float().mean()
    return 0.5 * (source + target)


def check_widths(hidden_features: Sequence[int]) -> None:
    """Refuse a layer of no units.

    Raises:
        ValueError: If a width is below 1.
    """
    for width in hidden_features:
        check_at_least("hidden_features", width, 1)


def _cross_entropy(logits: Tensor, is_source: bool) -> Tensor:
    wide = logits.to(math_dtype(logits))
    labels = torch.full_like(wide, float(is_source))
    return F.binary_cross_entropy_with_logits(wide, labels, reduction="none")
