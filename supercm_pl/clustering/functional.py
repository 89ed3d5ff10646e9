"""The clustering loss of SuperCM, and the sums and distances around it, as functions of tensors.

Notation: N samples have features x_i ∈ R^d and assignments γ_i ∈ [0, 1]^K; K centroids μ_k ∈ R^d
are the rows of M; x̄_i = Σ_k γ_ik μ_k is the reconstruction of x_i. Results are float32, or float64
for float64 features, also under autocast. No tensor has N·K·d elements.

References:
    Boubekki, Kampffmeyer, Jenssen, Brefeld: Joint optimization of an autoencoder for clustering
    and embedding. Machine Learning 110 (2021), arXiv 2012.03740.
    Singh, Boubekki, Jenssen, Kampffmeyer: SuperCM: Improving semi-supervised learning and domain
    adaptation through differentiable clustering. Pattern Recognition (2025), arXiv 2507.13779.
"""

from __future__ import annotations

from typing import NamedTuple, NoReturn

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


_NO_LABEL = "leave out samples without a label, in update_centroids by mask=labels >= 0"


class ClusteringLoss(NamedTuple):
    """The clustering loss and its four terms, each a scalar tensor."""

    total: Tensor
    reconstruction: Tensor
    sparsity: Tensor
    overlap: Tensor
    prior: Tensor

    # A tuple would repeat itself.
    def __mul__(self, other: object) -> NoReturn:
        raise TypeError("a clustering loss is a tuple of terms: write head.loss(...).total")

    def __rmul__(self, other: object) -> NoReturn:
        self.__mul__(other)

    def __radd__(self, other: object) -> NoReturn:
        self.__mul__(other)


class ClassSums(NamedTuple):
    """Sum of the features, shape (K, d), and number of samples, shape (K,), of each class."""

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
    r"""Soft k-means, written as the loss of an autoencoder (Boubekki et al. 2021).

    With Z = N·d if `normalize`, else Z = 1::

        reconstruction  E1 = 1/Z Σ_i ‖x_i − x̄_i‖²
        sparsity        E2 = 1/Z Σ_i Σ_k γ_ik (1 − γ_ik) ‖μ_k‖²
        overlap         E3 = −1/Z Σ_i Σ_{k≠l} γ_ik γ_il ⟨μ_k, μ_l⟩
                           = 1/Z (Σ_i Σ_k γ_ik² ‖μ_k‖² − Σ_i ‖x̄_i‖²)
        prior           E4 = Σ_k (1 − α_k) log(1/N Σ_i γ_ik + 1e-10)
        total              = E1 + E2 + E3 + E4

    If each row of γ sums to 1, E1 + E2 + E3 = 1/Z Σ_i Σ_k γ_ik ‖x_i − μ_k‖². Other rows are
    allowed, and the terms are as written above.

    The orthonormal variant has E2 = 1/Z Σ_i Σ_k γ_ik (1 − γ_ik) and E3 = λ ‖M Mᵀ − I‖²_F. Its E3,
    like E4, does not depend on `normalize`.

    Every term is twice differentiable in features, assignments and centroids.

    Args:
        features: x, shape (N, d), any floating-point dtype. With N = 0, E1 and E2 are 0.
        assignments: γ, shape (N, K), in [0, 1], for example from a softmax.
        centroids: M, shape (K, d).
        alpha: Dirichlet concentration α > 0, one number or shape (K,). Values below 1 favor few
            classes, values above 1 balanced ones. For the number 1.0 the prior is exactly 0.
        orthonormal: Use the variant for orthonormal centroids.
        ortho_weight: λ ≥ 0 of the orthonormal variant.
        normalize: Divide by N·d.

    Returns:
        The total and its four terms.

    Raises:
        TypeError: If a tensor is not of a floating-point dtype, or a number is not a number.
        ValueError: If shapes or devices differ, K or d is 0, or alpha or λ is out of range.

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
    features, assignments, centroids = (t.to(dtype) for t in (features, assignments, centroids))
    z = max(num_samples, 1) * num_features if normalize else 1
    with full_precision(features.device):
        sums = reconstruction_sums(features, assignments, centroids)
        reconstruction = sums.error / z
        if orthonormal:
            sparsity = sums.ambiguity.sum() / z
            overlap = ortho_weight * _distance_from_orthonormal(centroids)
        else:
            squared_norms = centroids.square().sum(dim=1)
            sparsity = sums.ambiguity.dot(squared_norms) / z
            overlap = (sums.concentration.dot(squared_norms) - sums.energy) / z
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
        alpha: α > 0, one number or shape (K,).

    Returns:
        A scalar.
    """
    check_matrix("mean_assignments", mean_assignments, ("K", None))
    alpha = check_alpha(alpha, mean_assignments.shape[0])
    if isinstance(alpha, Tensor):
        alpha = alpha.to(mean_assignments.dtype)
    return ((1 - alpha) * (mean_assignments + 1e-10).log()).sum()


def squared_distances(features: Tensor, centroids: Tensor) -> Tensor:
    """Squared Euclidean distances ‖x_i − μ_k‖² = ‖x_i‖² − 2 ⟨x_i, μ_k⟩ + ‖μ_k‖².

    Args:
        features: Shape (N, d), any floating-point dtype.
        centroids: Shape (K, d).

    Returns:
        Shape (N, K), at least 0, float32 or, for float64 features, float64.

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


def class_sums(
    features: Tensor, labels: Tensor, num_classes: int, *, mask: Tensor | None = None
) -> ClassSums:
    """Sum the features of each class and count its samples.

    The sums are differentiable in the features. Labels are checked on the CPU only, because a check
    on another device would synchronize with it; there, the result of a label out of range is
    undefined or an error of the device.

    Args:
        features: Shape (N, d), any floating-point dtype; N may be 0.
        labels: Shape (N,), integers in 0..K-1.
        num_classes: K.
        mask: Shape (N,), bool: the samples to use. Others may have any label and features.

    Returns:
        Sums and counts, float32 or, for float64 features, float64.

    Raises:
        TypeError: If features are not floating-point, labels not integers or the mask not bool.
        ValueError: If shapes or devices differ, or a label is out of range.

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
    check_labels(labels, num_samples, num_classes, mask, hint=_NO_LABEL)
    # Masked samples go to an extra class: multiplying them by 0 would keep NaN.
    classes = labels.long() if mask is None else torch.where(mask, labels.long(), num_classes)
    features = features.to(math_dtype(features))
    sums = features.new_zeros((num_classes + 1, num_features)).index_add_(0, classes, features)
    ones = features.new_ones(num_samples)
    counts = features.new_zeros(num_classes + 1).index_add_(0, classes, ones)
    return ClassSums(sums[:num_classes], counts[:num_classes])


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
    # ‖MMᵀ − I_K‖² = ‖MᵀM − I_d‖² + K − d: use the smaller of the two Gram matrices.
    excess = max(centroids.shape[0] - centroids.shape[1], 0)
    gram = centroids.T @ centroids if excess else centroids @ centroids.T
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return (gram - identity).square().sum() + excess
