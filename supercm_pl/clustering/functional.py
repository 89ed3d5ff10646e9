"""Stateless math of the SuperCM clustering module.

Notation: features x_i ∈ R^d, assignments γ_i ∈ [0, 1]^K, centroids μ_k ∈ R^d (the rows of M),
reconstruction x̄_i = Σ_k γ_ik μ_k. All results are in float32, or float64 for float64 features,
with autocast switched off, and no tensor of size N×K×d is ever made.

References:
    Boubekki, Kampffmeyer, Jenssen, Brefeld: Joint optimization of an autoencoder for clustering
    and embedding. Machine Learning 110 (2021), arXiv 2012.03740.
    Singh, Boubekki, Jenssen, Kampffmeyer: SuperCM: Improving semi-supervised learning and domain
    adaptation through differentiable clustering. Pattern Recognition (2025), arXiv 2507.13779.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from supercm_pl.checks import (
    check_alpha,
    check_device,
    check_labels,
    check_matrix,
    check_not_negative,
    check_size,
)
from supercm_pl.clustering._reconstruction import reconstruction_sums
from supercm_pl.precision import full_precision, math_dtype

__all__ = [
    "ClassSums",
    "ClusteringLoss",
    "class_sums",
    "clustering_loss",
    "dirichlet_prior",
    "squared_distances",
]


class ClusteringLoss(NamedTuple):
    """The clustering loss and the terms that add up to it, each a scalar tensor."""

    total: Tensor
    reconstruction: Tensor
    sparsity: Tensor
    overlap: Tensor
    prior: Tensor


class ClassSums(NamedTuple):
    """Per class the sum of its features, shape (K, d), and its number of samples, shape (K,)."""

    sums: Tensor
    counts: Tensor


def clustering_loss(
    features: Tensor,
    assignments: Tensor,
    centroids: Tensor,
    *,
    alpha: float | Tensor = 1.0,
    orthonormal: bool = False,
    ortho_weight: float = 1.0,
    normalize: bool = True,
) -> ClusteringLoss:
    r"""Loss of the clustering module (Boubekki et al. 2021): soft k-means as an autoencoder.

    With Z = N·d if `normalize`, else Z = 1::

        reconstruction  E1 = 1/Z Σ_i ‖x_i − x̄_i‖²
        sparsity        E2 = 1/Z Σ_i Σ_k γ_ik (1 − γ_ik) ‖μ_k‖²
        overlap         E3 = −1/Z Σ_i Σ_{k≠l} γ_ik γ_il ⟨μ_k, μ_l⟩
        prior           E4 = Σ_k (1 − α_k) log(1/N Σ_i γ_ik + 1e-10)
        total              = E1 + E2 + E3 + E4

    For assignments that sum to 1 in each row, E1 + E2 + E3 = 1/Z Σ_i Σ_k γ_ik ‖x_i − μ_k‖².
    In the orthonormal variant E2 = 1/Z Σ_i Σ_k γ_ik (1 − γ_ik) and E3 = λ ‖M Mᵀ − I‖²_F, where
    neither E3 nor E4 depends on `normalize`.

    Every term is differentiable, twice too, in features, assignments and centroids. The terms take
    assignments as free numbers: rows that do not sum to 1 get the terms as they are written above.

    Args:
        features: Shape (N, d), any floating-point dtype. With N = 0 the first terms are 0.
        assignments: Shape (N, K), in [0, 1], as a softmax gives them.
        centroids: Shape (K, d).
        alpha: Dirichlet concentration, one number or a tensor of shape (K,), greater than 0.
            Below 1 the prior pushes towards few classes, above 1 towards balanced ones; at the
            number 1.0 it is exactly 0 and costs nothing.
        orthonormal: Use the variant for orthonormal centroids.
        ortho_weight: λ ≥ 0, used in the orthonormal variant only.
        normalize: Divide by N·d.

    Returns:
        The total and its four terms, scalars in float32 or, for float64 features, float64.

    Raises:
        TypeError: If a tensor is not of a floating-point dtype, or a number is not a number.
        ValueError: If shapes do not fit together, K or d is 0, or alpha or λ is out of range.

    Example:
        >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> assignments = torch.tensor([[0.9, 0.1], [0.0, 1.0]])
        >>> loss = clustering_loss(features, assignments, centroids=torch.eye(2))
        >>> [round(term.item(), 4) for term in loss]
        [0.05, 0.005, 0.045, 0.0, 0.0]
    """
    num_samples, num_features, num_classes = _check_shapes(features, assignments, centroids)
    alpha = check_alpha(alpha, num_classes)
    check_not_negative("ortho_weight", ortho_weight)
    dtype = math_dtype(features)
    features, assignments, centroids = (
        tensor.to(dtype) for tensor in (features, assignments, centroids)
    )
    divisor = max(num_samples, 1) * num_features if normalize else 1
    with full_precision(features.device):
        sums = reconstruction_sums(features, assignments, centroids)
        reconstruction = sums.error / divisor
        if orthonormal:
            sparsity = sums.ambiguity.sum() / divisor
            overlap = ortho_weight * _distance_from_orthonormal(centroids)
        else:
            squared_norms = centroids.square().sum(dim=1)
            sparsity = squared_norms.dot(sums.ambiguity) / divisor
            overlap = (squared_norms.dot(sums.concentration) - sums.energy) / divisor
        if isinstance(alpha, float) and alpha == 1.0:
            prior = features.new_zeros(())
        else:
            prior = dirichlet_prior(assignments.sum(dim=0) / max(num_samples, 1), alpha)
        total = reconstruction + sparsity + overlap + prior
    return ClusteringLoss(total, reconstruction, sparsity, overlap, prior)


def dirichlet_prior(mean_assignments: Tensor, alpha: float | Tensor) -> Tensor:
    """Negative log-density of a Dirichlet prior on the class proportions, up to a constant.

    E4 = Σ_k (1 − α_k) log(p_k + 1e-10), where p_k is the mean assignment to class k.

    Args:
        mean_assignments: p, shape (K,).
        alpha: One number greater than 0, or a tensor of shape (K,) of such.

    Returns:
        A scalar.

    Raises:
        TypeError: If an argument is not of a floating-point dtype.
        ValueError: If shapes do not fit together or alpha is out of range.
    """
    check_matrix("mean_assignments", mean_assignments, ("K", None))
    alpha = check_alpha(alpha, mean_assignments.shape[0])
    if isinstance(alpha, Tensor):
        alpha = alpha.to(mean_assignments.dtype)
    return ((1 - alpha) * (mean_assignments + 1e-10).log()).sum()


def class_sums(
    features: Tensor, labels: Tensor, num_classes: int, *, mask: Tensor | None = None
) -> ClassSums:
    """Sum the features of each class and count its samples.

    The sums are differentiable in the features. Labels out of range are an error on the CPU; on
    another device a check would wait for it, and the result is undefined or the device's own error.

    Args:
        features: Shape (N, d), any floating-point dtype; N may be 0.
        labels: Shape (N,), integers in 0..K-1.
        num_classes: K.
        mask: Shape (N,), bool: which rows take part. The others may hold any label and feature.

    Returns:
        Sums of shape (K, d) and counts of shape (K,), in float32 or, for float64 features, float64.

    Raises:
        TypeError: If features are not floating-point, labels not integers or the mask not bool.
        ValueError: If shapes do not fit together or a label is out of range.

    Example:
        >>> features = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
        >>> sums, counts = class_sums(features, torch.tensor([2, 0, 2]), num_classes=3)
        >>> sums.tolist()
        [[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]]
        >>> counts.tolist()
        [1.0, 0.0, 2.0]
    """
    check_size("num_classes", num_classes)
    check_matrix("features", features, ("N", None), ("d", None))
    num_samples, num_features = features.shape
    for name, given in (("labels", labels), ("mask", mask)):
        if isinstance(given, Tensor):
            check_device(name, given, "features", features)
    check_labels(labels, num_samples, num_classes, mask)
    # Rows that take no part go to a bin of their own, as multiplying by 0 would let NaN through.
    bins = labels.long() if mask is None else torch.where(mask, labels.long(), num_classes)
    features = features.to(math_dtype(features))
    sums = features.new_zeros((num_classes + 1, num_features)).index_add_(0, bins, features)
    ones = features.new_ones(num_samples)
    counts = features.new_zeros(num_classes + 1).index_add_(0, bins, ones)
    return ClassSums(sums[:num_classes], counts[:num_classes])


def squared_distances(features: Tensor, centroids: Tensor) -> Tensor:
    """Squared Euclidean distances ‖x_i − μ_k‖², from one matrix product.

    Args:
        features: Shape (N, d), any floating-point dtype.
        centroids: Shape (K, d).

    Returns:
        Shape (N, K), at least 0, in float32 or, for float64 features, float64.

    Raises:
        TypeError: If an argument is not a floating-point tensor.
        ValueError: If the shapes do not fit together.

    Example:
        >>> squared_distances(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 0.0], [3.0, 0.0]]))
        tensor([[25., 16.]])
    """
    check_matrix("features", features, ("N", None), ("d", None))
    check_matrix("centroids", centroids, ("K", None), ("d", features.shape[1]))
    check_device("features", features, "centroids", centroids)
    dtype = math_dtype(features)
    features, centroids = features.to(dtype), centroids.to(dtype)
    with full_precision(features.device):
        squared_norms = centroids.square().sum(dim=1)
        distances = torch.addmm(squared_norms, features, centroids.T, alpha=-2)
        return (distances + features.square().sum(dim=1, keepdim=True)).clamp(min=0)


def _check_shapes(features: Tensor, assignments: Tensor, centroids: Tensor) -> tuple[int, int, int]:
    check_matrix("features", features, ("N", None), ("d", None))
    num_samples, num_features = features.shape
    check_matrix("assignments", assignments, ("N", num_samples), ("K", None))
    num_classes = assignments.shape[1]
    check_matrix("centroids", centroids, ("K", num_classes), ("d", num_features))
    check_device("assignments", assignments, "features", features)
    check_device("features", features, "centroids", centroids)
    if num_features < 1:
        raise ValueError("features must have at least one column, got d = 0")
    if num_classes < 1:
        raise ValueError("assignments must have at least one column, got K = 0")
    return num_samples, num_features, num_classes


def _distance_from_orthonormal(centroids: Tensor) -> Tensor:
    num_classes, num_features = centroids.shape
    # ‖MMᵀ − I_K‖² = ‖MᵀM − I_d‖² + K − d, so the smaller of the two Gram matrices will do.
    if num_classes <= num_features:
        gram, excess = centroids @ centroids.T, 0
    else:
        gram, excess = centroids.T @ centroids, num_classes - num_features
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return (gram - identity).square().sum() + excess
