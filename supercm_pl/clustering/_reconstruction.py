"""The sums over samples in the clustering loss, with a backward pass written by hand."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from supercm_pl.precision import full_precision


class ReconstructionSums(NamedTuple):
    """Sums over N samples with reconstructions x̄_i = Σ_k γ_ik μ_k."""

    error: Tensor  # Σ_i ‖x̄_i − x_i‖², a scalar
    energy: Tensor  # Σ_i ‖x̄_i‖², a scalar
    ambiguity: Tensor  # Σ_i γ_ik (1 − γ_ik), shape (K,)
    concentration: Tensor  # Σ_i γ_ik², shape (K,)


def reconstruction_sums(
    features: Tensor, assignments: Tensor, centroids: Tensor
) -> ReconstructionSums:
    """Compute the sums, twice differentiable in all arguments, with one matrix product.

    x (N, d), γ (N, K) and M (K, d) have one dtype, float32 or float64.
    """
    return ReconstructionSums(*_ReconstructionSums.apply(features, assignments, centroids)[:4])


class _ReconstructionSums(torch.autograd.Function):
    # Keeps one N×d tensor, x̄ − x, and creates two in backward. Autograd keeps two and creates more:
    # see docs/speed.md.

    @staticmethod
    def forward(features: Tensor, assignments: Tensor, centroids: Tensor) -> tuple[Tensor, ...]:
        ambiguity = (1 - assignments).mul_(assignments).sum(dim=0)
        concentration = assignments.square().sum(dim=0)
        reconstructed = assignments @ centroids
        energy = _squared_norm(reconstructed)
        difference = reconstructed.sub_(features)
        return _squared_norm(difference), energy, ambiguity, concentration, difference

    # Apart from `forward`, as the transforms of torch.func require.
    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(output[4])
        ctx.save_for_backward(*inputs, output[4])

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        # One after another: operations in place can't be batched.
        batched = [
            x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
            for x, dim in zip(inputs, in_dims, strict=True)
        ]
        found = [_ReconstructionSums.apply(*each) for each in zip(*batched, strict=True)]
        return tuple(map(torch.stack, zip(*found, strict=True))), (0,) * 5

    @staticmethod
    def backward(
        ctx: Any, error: Tensor, energy: Tensor, ambiguity: Tensor, concentration: Tensor, _: None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        # Each argument is the gradient of the loss with respect to the sum of that name.
        features, assignments, centroids, difference = ctx.saved_tensors
        with full_precision(features.device):
            if torch.is_grad_enabled():  # for a second derivative, which needs the graph
                difference = assignments @ centroids - features
            # 2a (x̄ − x) + 2b x̄ from x̄ − x and x
            for_reconstructed = difference * (2 * (error + energy))
            for_reconstructed.addcmul_(features, 2 * energy)
            for_assignments = torch.addcmul(
                ambiguity, assignments, 2 * (concentration - ambiguity)
            ).addmm_(for_reconstructed, centroids.T)
            needs_centroids = ctx.needs_input_grad[2]
            for_centroids = assignments.T @ for_reconstructed if needs_centroids else None
            del for_reconstructed  # before the next N×d tensor
            for_features = difference * (-2 * error)
        return for_features, for_assignments, for_centroids


def _squared_norm(rows: Tensor) -> Tensor:
    # By rows, so that float32 stays exact for millions of elements; makes no N×d tensor of squares.
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return norms.square().sum()
