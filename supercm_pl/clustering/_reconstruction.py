"""The sums over samples from which the terms of the clustering loss are made."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from supercm_pl.precision import full_precision


class ReconstructionSums(NamedTuple):
    """Sums over the N samples, each a differentiable function of features, γ and centroids."""

    error: Tensor  # Σ_i ‖x̄_i − x_i‖², a scalar
    energy: Tensor  # Σ_i ‖x̄_i‖², a scalar
    ambiguity: Tensor  # Σ_i γ_ik (1 − γ_ik), shape (K,)
    concentration: Tensor  # Σ_i γ_ik², shape (K,)


def reconstruction_sums(
    features: Tensor, assignments: Tensor, centroids: Tensor
) -> ReconstructionSums:
    """Sum errors, energies and assignments, with one matrix product x̄ = γM.

    Args:
        features: x, shape (N, d).
        assignments: γ, shape (N, K).
        centroids: M, shape (K, d). All three have one dtype, float32 or float64.
    """
    error, energy, ambiguity, concentration, _ = _ReconstructionSums.apply(
        features, assignments, centroids
    )
    return ReconstructionSums(error, energy, ambiguity, concentration)


class _ReconstructionSums(torch.autograd.Function):
    """Plain autograd would keep three N×d tensors and multiply once per sum in backward.

    Here one N×d tensor is kept, the difference x̄ − x, and the gradients of both quadratic sums
    are combined before they are multiplied by Mᵀ. The difference is an output, although no caller
    uses it, so that autograd knows where it comes from when it differentiates `backward` itself.
    """

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, assignments: Tensor, centroids: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        # First, so that these temporaries are gone when the N×d tensor comes.
        ambiguity = (1 - assignments).mul_(assignments).sum(dim=0)
        concentration = assignments.square().sum(dim=0)
        difference = assignments @ centroids
        energy = _squared_norm(difference)
        difference.sub_(features)
        error = _squared_norm(difference)
        ctx.save_for_backward(features, assignments, centroids, difference)
        if not torch.compiler.is_compiling():
            # Without this, autograd would fill an N×d tensor with zeros for the unused output.
            ctx.set_materialize_grads(False)
        return error, energy, ambiguity, concentration, difference

    @staticmethod
    def backward(
        ctx: Any, *gradients: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        features, assignments, centroids, difference = ctx.saved_tensors
        needs_features, needs_assignments, needs_centroids = ctx.needs_input_grad
        *for_sums, for_difference = gradients
        zero = features.new_zeros(())
        for_error, for_energy, for_ambiguity, for_concentration = (
            zero if gradient is None else gradient for gradient in for_sums
        )
        features_gradient = assignments_gradient = centroids_gradient = None
        with full_precision(features.device):
            if needs_assignments or needs_centroids:
                # ∂/∂x̄ = 2a(x̄ − x) + 2b x̄, written with the kept x̄ − x and x.
                for_reconstruction = difference * (2 * (for_error + for_energy))
                for_reconstruction.addcmul_(features, 2 * for_energy)
                if for_difference is not None:
                    for_reconstruction.add_(for_difference)
                if needs_assignments:
                    assignments_gradient = torch.addcmul(
                        for_ambiguity, assignments, 2 * (for_concentration - for_ambiguity)
                    )
                    assignments_gradient.addmm_(for_reconstruction, centroids.T)
                if needs_centroids:
                    centroids_gradient = assignments.T @ for_reconstruction
                del for_reconstruction
            if needs_features:
                features_gradient = difference * (-2 * for_error)
                if for_difference is not None:
                    features_gradient.sub_(for_difference)
        return features_gradient, assignments_gradient, centroids_gradient


def _squared_norm(rows: Tensor) -> Tensor:
    # Row by row, so that float32 keeps its precision over millions of elements, and without the
    # N×d tensor of squares.
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return norms.square().sum()
