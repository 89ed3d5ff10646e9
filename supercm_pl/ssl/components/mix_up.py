"""Mixtures of pairs of samples."""

from __future__ import annotations

import torch
from torch import Tensor


def mix_up(inputs: Tensor, targets: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    r"""Mix inputs ``(N, ...)`` and targets ``(N, K)`` with another sample of the batch each.

    With :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)` drawn for every sample, its own part is
    the larger one, :math:`\max(\lambda, 1 - \lambda)`.
    """
    share = own_shares(len(inputs), alpha, inputs.device)
    others = torch.randperm(len(inputs), device=inputs.device)

    def mix(values: Tensor) -> Tensor:
        own = share.to(values.dtype).view(-1, *([1] * (values.ndim - 1)))
        return own * values + (1 - own) * values[others]

    return mix(inputs), mix(targets)


def own_shares(num_samples: int, alpha: float, device: torch.device) -> Tensor:
    """Draw the larger parts of :func:`mix_up`: ``(N,)`` float32, in ``[0.5, 1]``."""
    # λ is x / (x + y) with x and y of a Gamma distribution, here by their logarithms, which do not
    # underflow for a small α. torch.compile cannot trace PyTorch's own Beta distribution.
    concentration = torch.full((2, num_samples), alpha + 1.0, device=device)
    gamma = torch.distributions.Gamma(
        concentration, torch.ones_like(concentration), validate_args=False
    ).sample()
    logarithms = gamma.log() + torch.rand_like(gamma).neg().log1p() / alpha
    return (logarithms[0] - logarithms[1]).abs().sigmoid()
