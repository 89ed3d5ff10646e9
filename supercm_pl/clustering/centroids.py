"""Class centroids, kept over the iterations from labeled features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from supercm_pl.checks import (
    check_device,
    check_fraction,
    check_matrix,
    check_size,
)
from supercm_pl.clustering.functional import ClassSums, class_sums, squared_distances
from supercm_pl.distributed import is_distributed, sum_over_ranks
from supercm_pl.precision import full_precision

__all__ = ["CentroidMode", "ClassCentroids"]

CentroidMode = Literal["cumulative", "ema", "batch", "learnable"]


class ClassCentroids(nn.Module):
    r"""Centroids μ_k of K classes in R^d, from labeled features (Singh et al. 2025).

    With m_k the mean feature of class k in a labeled batch, `update_centroids` makes of them, by
    the mode `centroids`:

    - ``cumulative``: the mean of m_k over all updates in which class k was present. Each update
      weighs the same, however many samples of the class it had.
    - ``ema``: m_k the first time, then ρ·μ_k + (1 − ρ)·m_k.
    - ``batch``: m_k where class k is present, and gradient flows through it into the features;
      else the last m_k, as a constant.
    - ``learnable``: nothing but the counts. They are a parameter, trained by the loss, as in the
      original clustering module.

    The centroid of a class that no update has had yet is zero (but not in ``learnable``). A class
    whose mean is not finite, as after an overflow in float16, counts as absent from that update.

    In ``batch`` mode the centroids with a gradient are those of the last update, in training mode
    with gradients enabled. They last until the next update, `reset_centroids`, `load_state_dict`
    or move of the module, and are neither copied nor pickled with it. Backward frees their graph,
    so every step has to update before it uses them.

    Where `torch.distributed` runs with several ranks, class sums and counts are reduced in one
    collective: every rank has to call `update_centroids`, with an empty batch if it has no labeled
    row.

    Args:
        in_features: d, the size of a feature vector.
        num_classes: K.
        centroids: Where centroids come from: one of the modes above.
        momentum: ρ of the mode ``ema``, between 0 and 1, both excluded.

    Attributes:
        centroids: Shape (K, d); a buffer, or a parameter in ``learnable``. At least float32, also
            after `.half()`, unless it is a parameter.
        centroid_counts: Shape (K,), int64: labeled samples seen of each class.
        centroid_updates: Shape (K,), int64: updates in which the class was present.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.
    """

    centroids: Tensor
    centroid_counts: Tensor
    centroid_updates: Tensor
    _batch_centroids: Tensor | None

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
        if centroids not in get_args(CentroidMode):
            raise ValueError(
                f"centroids must be one of {get_args(CentroidMode)}, got {centroids!r}"
            )
        self.in_features = in_features
        self.num_classes = num_classes
        self.centroid_mode = centroids
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
        """Take the labeled features of this iteration into the centroids and counts.

        All rows of one iteration belong into one call, pseudo-labeled ones included, with `mask`
        to say which of them take part. An empty batch changes nothing.

        Args:
            features: Shape (N_l, d).
            labels: Shape (N_l,), integers in 0..K-1; checked on the CPU, where it costs no waiting.
            mask: Shape (N_l,), bool: which rows take part. The others may hold any label.

        Raises:
            TypeError: If a dtype is wrong.
            ValueError: If a shape is wrong or a label is out of range.
        """
        self._check_features(features)
        if self.centroid_mode == "learnable":
            features = features[:, :0]  # only the counts are wanted
        differentiable = self.centroid_mode == "batch" and self.training and torch.is_grad_enabled()
        with torch.set_grad_enabled(differentiable), full_precision(features.device):
            sums, counts = self._class_sums_over_ranks(features, labels, mask)
            # Adding up a row is the cheapest way to find a value that is not finite.
            present = (counts > 0) & sums.detach().sum(dim=1).isfinite()
        with torch.no_grad():
            self.centroid_updates.add_(present)
            self.centroid_counts.add_(torch.where(present, counts, 0).long())
        if self.centroid_mode == "learnable":
            return
        absent = ~present.unsqueeze(1)
        number = counts.clamp(min=1).unsqueeze(1)
        if differentiable:
            # Absent classes have their stored centroid for a mean and no gradient: neither 0/0 nor
            # a sum that is not finite gets through.
            means = self._batch_centroids = torch.where(absent, self.centroids, sums / number)
        else:
            self._batch_centroids = None
            with torch.no_grad():  # in place, as K·d numbers may be many
                means = sums.div_(number).masked_fill_(absent, 0)
        with torch.no_grad():
            rate = torch.where(absent, 0, self._update_rate().unsqueeze(1))
            self.centroids.lerp_(means.to(rate.dtype), rate)

    @torch.no_grad()
    def nearest_centroid(self, features: Tensor) -> Tensor:
        """Find for each row the class with the nearest centroid, among those seen so far.

        Args:
            features: Shape (N, d), any floating-point dtype.

        Returns:
            Shape (N,), int64 in 0..K-1; all zero where no class has been seen.

        Raises:
            TypeError: If features are not a floating-point tensor.
            ValueError: If their shape is not (N, d).
        """
        self._check_features(features)
        distances = squared_distances(features, self.centroids)
        if self.centroid_mode != "learnable":
            distances = distances.masked_fill(self.centroid_updates == 0, torch.inf)
        return distances.argmin(dim=1)

    @torch.no_grad()
    def reset_centroids(self) -> None:
        """Forget all labeled samples: counts and centroids are zero, learnable ones drawn anew."""
        self._batch_centroids = None
        self.centroid_counts.zero_()
        self.centroid_updates.zero_()
        if self.centroid_mode == "learnable":
            # Expected squared norm 1, whatever d.
            nn.init.normal_(self.centroids, std=self.in_features**-0.5)
        else:
            self.centroids.zero_()

    def extra_repr(self) -> str:
        """Describe the module by its constructor arguments."""
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
            # The collective in backward needs every rank, also one whose batch carries no graph.
            local.requires_grad_()
        total = sum_over_ranks(local)
        return ClassSums(total[:, :-1], total[:, -1].detach())

    def _update_rate(self) -> Tensor:
        # The weight of this update's mean against the stored centroid, for classes present in it.
        updates = self.centroid_updates.clamp(min=1).to(self.centroids.dtype)
        if self.centroid_mode == "cumulative":
            return updates.reciprocal()
        first = torch.ones_like(updates)
        if self.centroid_mode == "ema":
            return torch.where(updates == 1, first, 1 - self.momentum)
        return first

    def _centroids_for_loss(self) -> Tensor:
        if self.centroid_mode == "learnable" or not torch.is_grad_enabled():
            return self.centroids
        if self.training and self._batch_centroids is not None:
            return self._batch_centroids
        # A copy, as the buffer may change in place before backward reads it: by the next update,
        # or by the buffer broadcast of DistributedDataParallel.
        return self.centroids.clone()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ClassCentroids:
        # `.half()` would leave too few digits for a running mean: the buffer keeps its dtype.
        before = self._buffers.get("centroids")
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._batch_centroids = None
        after = self._buffers.get("centroids")
        if before is not None and after is not None and after.dtype.itemsize < 4:
            self.centroids = before.to(after.device)
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._batch_centroids = None

    def __getstate__(self) -> dict[str, Any]:
        # A tensor inside a graph can be neither copied nor pickled.
        return {**self.__dict__, "_batch_centroids": None}
