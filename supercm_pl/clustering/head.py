"""The clustering head of SuperCM: a linear classifier with a centroid for each class."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supercm_pl.checks import (
    check_alpha,
    check_choice,
    check_flag,
    check_matrix,
    check_not_negative,
    check_positive,
    check_sums,
    is_readable,
)
from supercm_pl.clustering.centroids import CentroidMode, ClassCentroids
from supercm_pl.clustering.functional import ClusteringLoss, clustering_loss, dirichlet_prior
from supercm_pl.distributed import is_distributed, sum_over_ranks, world_size
from supercm_pl.precision import full_precision, math_dtype

__all__ = ["ClusteringHead", "ClusteringLoss", "ClusteringOutput"]


class ClusteringOutput(NamedTuple):
    """Logits s = Wx + b and assignments γ = softmax(s / T), each of shape (N, K)."""

    logits: Tensor
    assignments: Tensor


class ClusteringHead(ClassCentroids):
    r"""Linear layer, softmax and class centroids, with the clustering loss between them.

    In a training step, call the head, then `update_centroids` with the labeled samples, then
    `loss`. `ClassCentroids` describes the centroids, `clustering_loss` the loss.

    The math runs in float32, or float64 for float64 features, also under autocast and after
    `.half()`.

    With several ranks, every rank has to call `update_centroids`, and also `loss` if `alpha` is not
    1, because both reduce over the ranks. The other terms use the samples of this rank. Averaged
    over the ranks, they equal the terms of all samples in one process. If the ranks have unequal
    numbers of samples, pass `rows_per_rank` to `loss`.

    Args:
        in_features: d, the size of a feature vector.
        num_classes: K, the number of classes, and of clusters.
        centroids: How centroids follow the labeled features: ``cumulative``, ``ema``, ``batch`` or
            ``learnable``.
        momentum: ρ of the mode ``ema``, between 0 and 1, both excluded.
        temperature: T > 0, by which logits are divided in the softmax.
        alpha: Concentration of the Dirichlet prior on the mean assignment, greater than 0: one
            number, or K of them; 1 is no prior. `"balanced"` is a mild prior for classes of equal
            size: 1.2 for up to ten classes and 1 + 2/K for more, so that its strength (α - 1) K
            does not grow with K. For classes of the proportions p, write 1 + 2 p. A value below 1
            is a warning where labels give the centroids: the prior is then smallest without the
            class.
        orthonormal: Use the variant of the clustering loss for orthonormal centroids.
        ortho_weight: λ ≥ 0 of that variant.
        normalize: Divide the clustering loss by N·d.
        bias: Give the linear layer a bias.

    Attributes:
        classifier: The linear layer.
        calibration: A scalar > 0 by which logits are also divided in evaluation mode, for
            probabilities that are as high as the accuracy; 1 unless something sets it, such as
            :class:`~supercm_pl.callbacks.Calibration`.

    Example:
        >>> head = ClusteringHead(in_features=2, num_classes=2)
        >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 0.0], [2.0, 2.0]])
        >>> labels = torch.tensor([0, 1, 0])  # of the first three rows
        >>> logits, assignments = head(features)
        >>> head.update_centroids(features[:3], labels)
        >>> loss = F.cross_entropy(logits[:3], labels)
        >>> loss = loss + 0.5 * head.loss(features, assignments).total
        >>> loss.backward()
        >>> head.centroids.tolist(), head.centroid_counts.tolist()
        ([[2.0, 0.0], [0.0, 1.0]], [2, 1])
    """

    alpha: float | Tensor
    calibration: Tensor

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        centroids: CentroidMode = "cumulative",
        momentum: float = 0.9,
        temperature: float = 1.0,
        alpha: float | Sequence[float] | Tensor | Literal["balanced"] = 1.0,
        orthonormal: bool = False,
        ortho_weight: float = 1.0,
        normalize: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__(in_features, num_classes, centroids=centroids, momentum=momentum)
        self.temperature = check_positive("temperature", temperature)
        self.orthonormal = check_flag("orthonormal", orthonormal)
        self.ortho_weight = check_not_negative("ortho_weight", ortho_weight)
        self.normalize = check_flag("normalize", normalize)
        check_flag("bias", bias)
        if isinstance(alpha, str):
            check_choice("alpha", alpha, ("balanced",))
            alpha = 1 + 2 / max(num_classes, 10)
        alpha = check_alpha(alpha, num_classes)
        if (
            centroids != "learnable"
            and is_readable(least := torch.as_tensor(alpha).min())
            and least < 1
        ):
            warnings.warn(
                f"alpha below 1, here {least:g}, empties classes: for classes of proportions p, "
                'write alpha=[1 + 2 * share for share in p], for equal ones alpha="balanced"',
                RuntimeWarning,
                stacklevel=2,
            )
        if isinstance(alpha, Tensor):
            self.register_buffer("alpha", alpha.detach().clone())
        else:
            self.alpha = alpha
        self.classifier = nn.Linear(in_features, num_classes, bias=bias)
        self.register_buffer("calibration", torch.ones(()))
        self._is_checked = False

    def forward(self, features: Tensor) -> ClusteringOutput:
        """Compute logits and assignments.

        Args:
            features: Shape (N, d), any floating-point dtype.

        Returns:
            Logits Wx + b and assignments softmax(logits / T), each (N, K); in evaluation mode,
            T is multiplied by `calibration`.
        """
        self._check_features(features)
        dtype = math_dtype(features)
        weight = self.classifier.weight.to(dtype)
        bias = None if self.classifier.bias is None else self.classifier.bias.to(dtype)
        with full_precision(features.device):
            logits = F.linear(features.to(dtype), weight, bias)
            scaled = logits if self.temperature == 1.0 else logits / self.temperature
            if not self.training:
                scaled = scaled / self.calibration
            return ClusteringOutput(logits, torch.softmax(scaled, dim=1))

    def loss(
        self,
        features: Tensor,
        assignments: Tensor,
        *,
        rows_per_rank: float | Tensor | None = None,
    ) -> ClusteringLoss:
        """Compute the clustering loss with the current centroids.

        Args:
            features: Shape (N, d), of labeled and unlabeled samples together.
            assignments: Shape (N, K), from `forward`.
            rows_per_rank: Average of N over the ranks, from `distributed.rows_per_rank`; `None` if
                N is the same on all ranks.

        Returns:
            The total and its terms; see `clustering_loss`. The prior uses the mean assignment over
            the samples of all ranks.

        Raises:
            TypeError: If an argument is not a floating-point tensor.
            ValueError: If a shape is wrong; in the first call, if a row of the assignments does
                not sum to 1, or `update_centroids` has not been called before.
        """
        if isinstance(assignments, ClusteringOutput):
            raise TypeError("assignments must be a tensor: write head(features).assignments")
        self._check_features(features)
        check_matrix("assignments", assignments, ("N", features.shape[0]), ("K", self.num_classes))
        if not (torch.compiler.is_compiling() or self._is_checked or assignments.is_meta):
            self._check_first(assignments)
        terms = clustering_loss(
            features,
            assignments,
            self._centroids_for_loss(),
            orthonormal=self.orthonormal,
            ortho_weight=self.ortho_weight,
            normalize=self.normalize,
        )
        if is_distributed():
            terms = self._averageable(terms, features.shape[0], rows_per_rank)
        if isinstance(self.alpha, float) and self.alpha == 1.0:
            return terms
        with full_precision(features.device):
            sums = assignments.to(terms.total.dtype).sum(dim=0)
            num_samples = sums.new_full((1,), features.shape[0])
            sums = sum_over_ranks(torch.cat([sums, num_samples]))
            prior = dirichlet_prior(sums[:-1] / sums[-1].clamp(min=1), self.alpha)
        total, reconstruction, sparsity, overlap, _ = terms
        return ClusteringLoss(total + prior, reconstruction, sparsity, overlap, prior)

    def _check_first(self, assignments: Tensor) -> None:
        # Only in the first call: on a device, it waits for the result.
        if assignments.is_cuda and torch.cuda.is_current_stream_capturing():
            return
        try:
            check_sums(assignments)
            known = self._has_centroids or self.centroid_updates.any() or self.centroids.any()
            self._has_centroids = bool(known)
        except RuntimeError:  # inside torch.func.vmap, there are no values to read
            return
        if not self._has_centroids:
            raise ValueError(
                "all centroids are 0: before head.loss, call head.update_centroids(features, "
                "labels) with the labeled samples"
            )
        self._is_checked = True

    def _averageable(
        self, terms: ClusteringLoss, num_samples: int, rows_per_rank: float | Tensor | None
    ) -> ClusteringLoss:
        # Scale the terms so that their average over the ranks is the loss of all samples.
        if not self.normalize:
            factor: float | Tensor = float(world_size())
        elif rows_per_rank is not None:
            factor = num_samples / rows_per_rank
        else:
            return terms
        _, reconstruction, sparsity, overlap, prior = terms
        reconstruction, sparsity = factor * reconstruction, factor * sparsity
        if not self.orthonormal:  # that overlap depends on the centroids only
            overlap = factor * overlap
        total = reconstruction + sparsity + overlap  # `loss` adds the prior of all ranks
        return ClusteringLoss(total, reconstruction, sparsity, overlap, prior)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        if not self.calibration.is_meta and not 0 < float(self.calibration) < math.inf:
            args[6].append(f"calibration must be above 0 and finite, got {self.calibration:g}.")

    def extra_repr(self) -> str:
        """Show the constructor arguments in the repr."""
        alpha = "per class" if isinstance(self.alpha, Tensor) else self.alpha
        return (
            f"{super().extra_repr()}, temperature={self.temperature}, alpha={alpha}, "
            f"orthonormal={self.orthonormal}, ortho_weight={self.ortho_weight}, "
            f"normalize={self.normalize}"
        )
