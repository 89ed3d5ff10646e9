"""SuperCM's own validators: how target features and assignments fit the source's centroids."""

from __future__ import annotations

import torch
from torch import Tensor

from supercm_pl.clustering import ClusteringHead, clustering_loss, dirichlet_prior
from supercm_pl.uda.validators.validator import OptionalHead, Validator


class TargetClusteringLoss(Validator):
    """Negative clustering loss of the target samples against the head's centroids.

    It is `ClusteringHead.loss` of all target samples at once, negated. Without orthonormal variant
    and prior, with centroids μ_k and assignments γ_i::

        −1/(N·d) Σ_i Σ_k γ_ik ‖x_i − μ_k‖²

    (Singh, Boubekki, Jenssen, Kampffmeyer: SuperCM. Pattern Recognition 2025, arXiv 2507.13779.) It
    is divided by N·d whatever the head's `normalize`, and nan while the head has seen no labeled
    sample. It follows the scale of the features, so compare only runs whose features have one
    scale; `CentroidAgreement` does not depend on it.
    """

    _sums = ("clustering_sum",)
    _row_names = ("target_sums", "alphas")  # one row for each batch, for the prior

    clustering_sum: Tensor

    def _update_target(self, features: Tensor, assignments: Tensor, head: OptionalHead) -> None:
        head = _required(head, self.name)
        # Not `head.loss`, which with a prior needs as many batches on every rank.
        loss = clustering_loss(
            features,
            assignments,
            head.centroids,
            orthonormal=head.orthonormal,
            ortho_weight=head.ortho_weight,
        )
        batch_sum = _nan_without_centroids(features.shape[0] * loss.total, head)
        self.clustering_sum = self.clustering_sum + batch_sum.float()
        self._append("target_sums", assignments.sum(dim=0, keepdim=True))
        self._append("alphas", torch.ones_like(assignments[:1]) * head.alpha)

    def _value(self) -> Tensor:
        mean = self._rows("target_sums").sum(dim=0) / self.num_target
        prior = dirichlet_prior(mean, self._rows("alphas")[0])
        return -(self.clustering_sum / self.num_target + prior)


class CentroidAgreement(Validator):
    """Fraction of target samples whose most probable class has the nearest centroid, in [0, 1].

    With centroids μ_k of the classes seen so far and assignments γ_i::

        1/N Σ_i [argmax_k γ_ik = argmin_k ‖x_i − μ_k‖]

    The linear layer and the centroids are two classifiers that learn from the same source labels;
    where the target is aligned with the source they agree (our own, with the centroids of Singh et
    al., arXiv 2507.13779). It is nan while the head has seen no labeled sample.
    """

    _sums = ("num_agreeing",)

    num_agreeing: Tensor

    def _update_target(self, features: Tensor, assignments: Tensor, head: OptionalHead) -> None:
        head = _required(head, self.name)
        agreeing = (assignments.argmax(dim=1) == head.nearest_centroid(features)).sum()
        self.num_agreeing = self.num_agreeing + _nan_without_centroids(agreeing.float(), head)

    def _value(self) -> Tensor:
        return self.num_agreeing / self.num_target


def _required(head: OptionalHead, name: str) -> ClusteringHead:
    if head is None:
        raise ValueError(f"head must be given, as {name} needs its centroids, got None")
    return head


def _nan_without_centroids(value: Tensor, head: ClusteringHead) -> Tensor:
    if head.centroid_mode == "learnable":
        return value
    return torch.where(head.centroid_updates.any(), value, torch.nan)
