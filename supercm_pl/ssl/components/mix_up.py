"""Mixtures of pairs of samples."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Mixture(NamedTuple):
    """Mixed samples.

    Attributes:
        inputs: ``(N, ...)``.
        targets: ``(N, K)``, each row sums to 1.
    """

    inputs: Tensor
    targets: Tensor


def mix_up(inputs: Tensor, targets: Tensor, alpha: float) -> Mixture:
    r"""Mix every sample with another one of the batch, which contributes the smaller part.

    With :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)` drawn for every sample, its own part is
    :math:`\max(\lambda, 1 - \lambda)`.

    Args:
        inputs: ``(N, ...)``.
        targets: ``(N, K)``, each row sums to 1.
        alpha: ``α > 0`` of the Beta distribution.

    Returns:
        The mixtures, in the order of their larger parts.
    """
    share = own_shares(len(inputs), alpha, inputs.device)
    others = torch.randperm(len(inputs), device=inputs.device)

    def mix(values: Tensor) -> Tensor:
        own = share.to(values.dtype).view(-1, *([1] * (values.ndim - 1)))
        return own * values + (1 - own) * values[others]

    return Mixture(mix(inputs), mix(targets))


def own_shares(num_samples: int, alpha: float, device: torch.device) -> Tensor:
    r"""Draw the larger parts :math:`\max(\lambda, 1 - \lambda)` of :func:`mix_up`.

    Args:
        num_samples: ``N``.
        alpha: ``α > 0``.
        device: Where to draw, from its global generator.

    Returns:
        ``(N,)`` float32, in ``[0.5, 1]``.
    """
    # λ is x / (x + y) with x and y of a Gamma distribution, here by their logarithms, which do not
    # underflow for a small α. torch.compile cannot trace PyTorch's own Beta distribution.
    concentration = torch.full((2, num_samples), alpha + 1.0, device=device)
    gamma = torch.distributions.Gamma(
        concentration, torch.ones_like(concentration), validate_args=False
    ).sample()
    logarithms = gamma.log() + torch.rand_like(gamma).neg().log1p() / alpha
    return (logarithms[0] - logarithms[1]).abs().sigmoid()
