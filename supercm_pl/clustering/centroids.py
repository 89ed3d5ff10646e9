"""Class centroids, updated in each iteration from labeled features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from supercm_pl.checks import check_choice, check_device, check_fraction, check_matrix, check_size
from supercm_pl.clustering.functional import ClassSums, class_sums, squared_distances
from supercm_pl.distributed import is_distributed, sum_over_ranks
from supercm_pl.precision import full_precision

__all__ = ["CentroidMode", "ClassCentroids"]

CentroidMode = Literal["cumulative", "ema", "batch", "learnable"]


class ClassCentroids(nn.Module):
    r"""Centroids μ_k ∈ R^d of K classes, from labeled features (Singh et al. 2025).

    `update_centroids` takes the labeled samples of one iteration. With m_k their mean feature in
    class k, the modes of `centroids` are:

    - ``cumulative``: the mean of m_k over all updates with class k. Every update has the same
      weight, regardless of its number of samples.
    - ``ema``: m_k in the first update with class k, then ρ·μ_k + (1 − ρ)·m_k.
    - ``batch``: m_k, with its gradient to the features. Classes without samples keep their last
      m_k, as a constant.
    - ``learnable``: a parameter trained by the loss, as in the original clustering module. Updates
      only count samples.

    Until its first update, the centroid of a class is zero (except in ``learnable``). If the mean
    of a class is non-finite, for example after an overflow in float16, the update skips the class.

    In ``batch`` mode, updates in training mode with gradients enabled keep the graph of the
    centroids until the next update, `reset_centroids`, `load_state_dict` or move of the module.
    Copies and pickles do not include it. Backward frees it, so update in every step.

    With several ranks, sums and counts are reduced in one collective: every rank has to call
    `update_centroids`, with an empty batch if it has no labeled samples.

    Args:
        in_features: d, the size of a feature vector.
        num_classes: K.
        centroids: One of the modes above.
        momentum: ρ of the mode ``ema``, between 0 and 1, both excluded.

    Attributes:
        centroids: Shape (K, d), a buffer, or a parameter in ``learnable``. The buffer is
            float32 after `.half()`.
        centroid_counts: Shape (K,), int64: labeled samples of each class so far.
        centroid_updates: Shape (K,), int64: updates with samples of each class so far.
    """

    centroids: Tensor
    centroid_counts: Tensor
    centroid_updates: Tensor
    _batch_centroids: Tensor | None
    _has_centroids: bool  # whether to skip a look at their values

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        centroids: CentroidMode = "cumulative",
        momentum: float = 0.9,
    ) -> None:
        super().__init__()
        check_size("in_features", in_features)
        check_size("num_classes", num_classes)
        check_choice("centroids", centroids, get_args(CentroidMode))
        self.in_features = in_features
        self.num_classes = num_classes
        self.centroid_mode = centroids
        self._has_centroids = centroids == "learnable"
        self.momentum = check_fraction("momentum", momentum)

        dtype = torch.promote_types(torch.get_default_dtype(), torch.float32)
        initial = torch.zeros(num_classes, in_features, dtype=dtype)
        if centroids == "learnable":
            self.centroids = nn.Parameter(initial)
        else:
            self.register_buffer("centroids", initial)
        self.register_buffer("centroid_counts", torch.zeros(num_classes, dtype=torch.long))
        self.register_buffer("centroid_updates", torch.zeros(num_classes, dtype=torch.long))
        self.reset_centroids()

    def update_centroids(
        self, features: Tensor, labels: Tensor, *, mask: Tensor | None = None
    ) -> None:
        """Update centroids and counts with the labeled samples of this iteration.

        Call it once per iteration, with all labeled and pseudo-labeled samples. An empty batch
        changes nothing.

        Args:
            features: Shape (N_l, d).
            labels: Shape (N_l,), integers in 0..K-1, checked on the CPU only.
            mask: Shape (N_l,), bool: the samples to use. Others may have any label: with -1 for
                samples without one, pass ``labels >= 0``.
        """
        self._check_features(features)
        self._has_centroids = True
        if self.centroid_mode == "learnable":
            features = features[:, :0]  # only count
        differentiable = self.centroid_mode == "batch" and self.training and torch.is_grad_enabled()
        with torch.set_grad_enabled(differentiable), full_precision(features.device):
            sums, counts = self._class_sums_over_ranks(features, labels, mask)
            # A row has a finite sum only if its values are finite.
            present = (counts > 0) & sums.detach().sum(dim=1).isfinite()
        with torch.no_grad():
            self.centroid_updates.add_(present)
            self.centroid_counts.add_(torch.where(present, counts, 0).long())
        if self.centroid_mode == "learnable":
            return
        absent = ~present.unsqueeze(1)
        number = counts.clamp(min=1).unsqueeze(1)
        if differentiable:
            # `where` also stops the gradient of absent classes, whose sums may be non-finite.
            means = self._batch_centroids = torch.where(absent, self.centroids, sums / number)
        else:
            self._batch_centroids = None
            means = sums.div_(number).masked_fill_(absent, 0)  # in place to save K·d numbers
        with torch.no_grad():
            rate = torch.where(absent, 0, self._update_rate().unsqueeze(1))
            self.centroids.lerp_(means.to(rate.dtype), rate)

    @torch.no_grad()
    def nearest_centroid(self, features: Tensor) -> Tensor:
        """Find the class with the nearest centroid, among the classes seen so far.

        Args:
            features: Shape (N, d), any floating-point dtype.

        Returns:
            Shape (N,), int64 in 0..K-1; all zero if no class has been seen.
        """
        self._check_features(features)
        distances = squared_distances(features, self.centroids)
        if self.centroid_mode != "learnable":
            distances = distances.masked_fill(self.centroid_updates == 0, torch.inf)
        return distances.argmin(dim=1)

    @torch.no_grad()
    def reset_centroids(self) -> None:
        """Set centroids and counts to zero; draw learnable centroids anew."""
        self._batch_centroids = None
        self.centroid_counts.zero_()
        self.centroid_updates.zero_()
        if self.centroid_mode == "learnable":
            # Expected squared norm 1 for any d.
            nn.init.normal_(self.centroids, std=self.in_features**-0.5)
        else:
            self.centroids.zero_()

    def extra_repr(self) -> str:
        """Show the constructor arguments in the repr."""
        return (
            f"in_features={self.in_features}, num_classes={self.num_classes}, "
            f"centroids={self.centroid_mode!r}, momentum={self.momentum}"
        )

    def _check_features(self, features: Tensor) -> None:
        check_matrix("features", features, ("N", None), ("in_features", self.in_features))
        check_device("features", features, "centroids", self.centroids)

    def _class_sums_over_ranks(
        self, features: Tensor, labels: Tensor, mask: Tensor | None
    ) -> ClassSums:
        sums, counts = class_sums(features, labels, self.num_classes, mask=mask)
        if not is_distributed():
            return ClassSums(sums, counts)
        local = torch.cat([sums, counts.unsqueeze(1)], dim=1)
        if torch.is_grad_enabled() and not local.requires_grad:
            # Every rank has to take part in the collective of backward, even without a graph.
            local.requires_grad_()
        total = sum_over_ranks(local)
        return ClassSums(total[:, :-1], total[:, -1].detach())

    def _update_rate(self) -> Tensor:
        # Weight of the mean of this update against the stored centroid, per class.
        updates = self.centroid_updates.clamp(min=1).to(self.centroids.dtype)
        if self.centroid_mode == "cumulative":
            return updates.reciprocal()
        if self.centroid_mode == "ema":
            return torch.where(updates == 1, updates, 1 - self.momentum)
        return torch.ones_like(updates)

    def _centroids_for_loss(self) -> Tensor:
        if self.centroid_mode == "learnable" or not torch.is_grad_enabled():
            return self.centroids
        if self.training and self._batch_centroids is not None:
            return self._batch_centroids
        # A copy, because the next update or the buffer broadcast of DistributedDataParallel may
        # change the buffer in place before backward reads it.
        return self.centroids.clone()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ClassCentroids:
        # A running mean needs more digits than `.half()` leaves, and a large alpha more range: the
        # buffers become float32.
        kept = dict(self._buffers)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._batch_centroids = None
        for name, before in kept.items():
            after = self._buffers[name]
            if before is not None and after is not None and after.dtype.itemsize < 4:
                self._buffers[name] = before.to(after.device, torch.float32)
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._batch_centroids = None

    def __getstate__(self) -> dict[str, Any]:
        # Tensors with a graph can be neither copied nor pickled.
        return {**self.__dict__, "_batch_centroids": None}
