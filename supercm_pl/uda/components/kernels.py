"""Distance of two domains' mean embeddings under Gaussian kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from supercm_pl.checks import check_choice, check_matrix, check_optional, check_positive
from supercm_pl.clustering.functional import squared_distances
from supercm_pl.precision import math_dtype

Estimator = Literal["linear", "unbiased", "biased"]

MULTIPLES = (0.25, 0.5, 1.0, 2.0, 4.0)

# Below it the samples are one point, and a bandwidth that follows them would magnify rounding.
_LEAST_BANDWIDTH = 1e-12


class Kernel(NamedTuple):
    """A sum of Gaussian kernels ``k(x, y) = Σ_u exp(−‖x − y‖² / (m_u γ))``.

    Attributes:
        multiples: ``m_u > 0``.
        bandwidth: ``γ > 0``; ``None``: the mean of ``‖x − y‖²`` over the pairs of distinct samples
            of both domains, without gradient.
    """

    multiples: Sequence[float] = MULTIPLES
    bandwidth: float | None = None

    def check(self) -> None:
        """Require numbers greater than 0, and at least one multiple."""
        if len(self.multiples) == 0:
            raise ValueError(f"multiples must have at least one number, got {self.multiples!r}")
        for multiple in self.multiples:
            check_positive("multiples", multiple)
        check_optional(check_positive, "bandwidth", self.bandwidth)


def embedding_distance(
    source: Sequence[Tensor],
    target: Sequence[Tensor],
    kernels: Sequence[Kernel],
    estimator: Estimator,
) -> Tensor:
    """Squared distance of mean embeddings under the product of the layers' kernels, a scalar.

    Features are ``(N_s, d_l)`` and ``(N_t, d_l)`` for each layer ``l``. The result is float32, or
    float64 if a layer is. For ``estimator``, see :func:`~supercm_pl.uda.methods.dan.mmd`.
    """
    if not len(source) == len(target) == len(kernels) > 0:
        raise ValueError(
            "source, target and kernels must have one entry for each layer, got "
            f"{len(source)}, {len(target)} and {len(kernels)}"
        )
    check_choice("estimator", estimator, get_args(Estimator))
    num_source, num_target = len(source[0]), len(target[0])
    least = 1 if estimator == "biased" else 2
    for name, number in (("source", num_source), ("target", num_target)):
        if number < least:
            raise ValueError(
                f'{name} must have at least {least} samples for the estimator "{estimator}", '
                f"got {number}"
            )
    values: list[Tensor] = []
    for one, other, kernel in zip(source, target, kernels, strict=True):
        check_matrix("source", one, ("N_s", num_source), ("d", None))
        check_matrix("target", other, ("N_t", num_target), ("d", one.shape[1]))
        kernel.check()
        dtype = torch.promote_types(math_dtype(one), math_dtype(other))
        values.append(_kernel_values(one.to(dtype), other.to(dtype), kernel, estimator))
    product = values[0]
    for value in values[1:]:
        product = product * value
    return (_pair_weights(num_source, num_target, estimator, product) * product).sum()


def _kernel_values(source: Tensor, target: Tensor, kernel: Kernel, estimator: Estimator) -> Tensor:
    both = torch.cat([source, target])
    # Distances do not change by the shift, but a matrix product far from 0 would lose digits.
    center = both.detach().mean(dim=0)
    bandwidth: float | Tensor
    if kernel.bandwidth is None:
        # Σ_ij ‖x_i − x_j‖² = 2 N Σ_i ‖x_i − x̄‖², over the N (N − 1) pairs of distinct samples.
        spread = (both.detach() - center).square().sum()
        bandwidth = (2.0 * spread / max(len(both) - 1, 1)).clamp(min=_LEAST_BANDWIDTH)
    else:
        bandwidth = kernel.bandwidth
    if estimator == "linear":
        distances = _paired_distances(source, target)
    else:
        distances = squared_distances(both - center, both - center)
    scaled = distances / bandwidth
    values = torch.zeros_like(scaled)
    for multiple in kernel.multiples:
        values = values + torch.exp(-scaled / multiple)
    return values


def _paired_distances(source: Tensor, target: Tensor) -> Tensor:
    """Distances of neighbors, (4, M): in the source, in the target, and across in both ways."""
    turn = torch.arange(max(len(source), len(target)), device=source.device)
    s, next_s = source[turn % len(source)], source[(turn + 1) % len(source)]
    t, next_t = target[turn % len(target)], target[(turn + 1) % len(target)]
    pairs = ((s, next_s), (t, next_t), (s, next_t), (next_s, t))
    return torch.stack([(one - other).square().sum(dim=1) for one, other in pairs])


def _pair_weights(num_source: int, num_target: int, estimator: Estimator, values: Tensor) -> Tensor:
    """The weight of each kernel value in the estimate, of a shape that broadcasts to them."""
    if estimator == "linear":
        signs = torch.cat([values.new_ones(2, 1), -values.new_ones(2, 1)])
        return signs / values.shape[1]
    own = values.new_full((num_source,), 1.0 / num_source)
    signed = torch.cat([own, values.new_full((num_target,), -1.0 / num_target)])
    weights = torch.outer(signed, signed)
    if estimator == "unbiased":
        weights[:num_source, :num_source] *= num_source / (num_source - 1)
        weights[num_source:, num_source:] *= num_target / (num_target - 1)
        weights.fill_diagonal_(0.0)
    return weights
