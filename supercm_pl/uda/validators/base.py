"""What validators share: what they are given, and how they keep it."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from supercm_pl.checks import check_choice, check_labels, check_matrix
from supercm_pl.clustering import ClusteringHead
from supercm_pl.precision import full_precision
from supercm_pl.training.method import snake_case

Domain = Literal["source", "target"]


class Validator(Metric, ABC):
    """An estimate, without target labels, of how good a model is on the target domain.

    Larger is better: what a paper minimizes is negated. The value is that of all rows since the
    last reset, whatever their order, batches and ranks, up to rounding, in float32 also under
    autocast. It is nan, which the callbacks of Lightning take for the worst, if a feature or
    assignment of a domain that the validator looks at is not finite; and with a warning, if there
    is no row of that domain.

    A subclass names the domains that it looks at, keeps what it needs in `_update_source` and
    `_update_target`, and makes a scalar of it in `_value`. Its states need names of their own,
    unless another validator keeps exactly the same: a `MetricCollection` may share them by name.

    Args:
        options: Of `torchmetrics.Metric`.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False

    domains: ClassVar[tuple[Domain, ...]] = ("target",)

    num_source: Tensor
    num_target: Tensor
    num_not_finite: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for state in ("num_source", "num_target", "num_not_finite"):
            self.add_state(state, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    @property
    def name(self) -> str:
        """The name in logs, which is the class name in snake case."""
        return snake_case(type(self).__name__)

    def update(
        self,
        features: Tensor,
        assignments: Tensor,
        labels: Tensor | None = None,
        *,
        domain: Domain,
        head: ClusteringHead | None = None,
    ) -> None:
        """Add a batch of one domain; every validator takes every batch, and uses what it needs.

        Args:
            features: Shape (N, d).
            assignments: Shape (N, K), class probabilities: rows sum to 1.
            labels: Shape (N,), integers in 0..K-1, of source rows; target rows must have none.
            domain: The domain of these rows, ``source`` or ``target``.
            head: The head that gave the assignments; some validators need its centroids.

        Raises:
            TypeError: If a dtype is wrong.
            ValueError: If a shape is wrong, the domain is unknown, labels are given for target
                rows or missing for source rows, or a head is needed and missing.
        """
        check_choice("domain", domain, get_args(Domain))
        check_matrix("features", features, ("N", None), ("d", None))
        num_rows = features.shape[0]
        check_matrix("assignments", assignments, ("N", num_rows), ("K", None))
        if domain == "source":
            if labels is None:
                raise ValueError("labels must be given for source rows, got None")
            check_labels(labels, num_rows, assignments.shape[1])
        elif labels is not None:
            raise ValueError(
                "labels must be None for target rows, as selection has to do without them, "
                f"got {type(labels).__name__}"
            )
        if domain not in self.domains:
            return
        # `Metric.forward` enables gradients.
        with torch.no_grad(), full_precision(features.device):
            features, assignments = features.float(), assignments.float()
            finite = features.isfinite().all(dim=1) & assignments.isfinite().all(dim=1)
            self.num_not_finite = self.num_not_finite + (~finite).sum()
            if labels is not None:
                self.num_source = self.num_source + num_rows
                self._update_source(features, assignments, labels.long())
            else:
                self.num_target = self.num_target + num_rows
                self._update_target(features, assignments, head)

    def compute(self) -> Tensor:
        """Make a scalar of all rows since the last reset, of all ranks; see the class for nan."""
        counts = {"source": self.num_source, "target": self.num_target}
        for domain in self.domains:
            if counts[domain] == 0:
                warnings.warn(
                    f"{self.name} is nan: it got no {domain} rows to validate on", stacklevel=2
                )
                return self._nan()
        if self.num_not_finite > 0:
            return self._nan()
        with torch.no_grad(), full_precision(self.num_target.device):
            return self._value()

    def _update_source(self, features: Tensor, assignments: Tensor, labels: Tensor) -> None:
        """Keep what is needed of source rows, (N, d) and (N, K) in float32, and labels (N,)."""
        raise NotImplementedError(f"{type(self).__name__} looks at source rows and must keep them")

    def _update_target(
        self, features: Tensor, assignments: Tensor, head: ClusteringHead | None
    ) -> None:
        """Keep what is needed of target rows, (N, d) and (N, K) in float32."""
        raise NotImplementedError(f"{type(self).__name__} looks at target rows and must keep them")

    @abstractmethod
    def _value(self) -> Tensor:
        """Return the value, a scalar; there are rows, and all are finite."""

    def _nan(self) -> Tensor:
        return torch.full((), torch.nan, device=self.num_target.device)

    def _add_sum(self, name: str) -> None:
        self.add_state(name, torch.zeros(()), dist_reduce_fx="sum")

    def _add_rows(self, name: str) -> None:
        # Flat, because ranks gather tensors of one number of dimensions only, and torchmetrics puts
        # an empty one of one dimension where a rank has no rows.
        self.add_state(name, [], dist_reduce_fx="cat")
        self.add_state(f"{name}_width", torch.zeros((), dtype=torch.long), dist_reduce_fx="max")

    def _append(self, name: str, rows: Tensor) -> None:
        getattr(self, name).append(rows.flatten())
        width = getattr(self, f"{name}_width")
        setattr(self, f"{name}_width", torch.full_like(width, rows.shape[1]))

    def _rows(self, name: str) -> Tensor:
        width = int(getattr(self, f"{name}_width"))
        return dim_zero_cat(getattr(self, name)).view(-1, width)
