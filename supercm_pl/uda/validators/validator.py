"""The base class of all validators."""

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
from supercm_pl.options import inherit_descriptions
from supercm_pl.precision import full_precision
from supercm_pl.training.method import snake_case

Domain = Literal["source", "target"]
OptionalHead = ClusteringHead | None


class Validator(Metric, ABC):
    """An estimate, without target labels, of how good a model is on the target domain.

    Larger is better: what a paper minimizes is negated. The value covers all samples since the
    last reset, whatever their order, batches and ranks, up to rounding, in float32 also under
    autocast. It is nan, which Lightning's callbacks treat as the worst value, if a feature or
    assignment of a domain that the validator uses is not finite; and, with a warning, if there is
    no sample of that domain.

    A subclass names the domains that it uses and its states, updates these in `_update_source` and
    `_update_target`, and computes a scalar in `_value`. States need unique names, unless another
    validator keeps exactly the same: a `MetricCollection` may share states by name.

    Args:
        options: Of `torchmetrics.Metric`.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False

    domains: ClassVar[tuple[Domain, ...]] = ("target",)
    _counts: ClassVar[tuple[str, ...]] = ()
    _sums: ClassVar[tuple[str, ...]] = ()
    _row_names: ClassVar[tuple[str, ...]] = ()

    num_source: Tensor
    num_target: Tensor
    num_not_finite: Tensor

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        inherit_descriptions(cls)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name in ("num_source", "num_target", "num_not_finite", *self._counts):
            self.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        for name in self._sums:
            self.add_state(name, torch.zeros(()), dist_reduce_fx="sum")
        for name in self._row_names:
            self._add_rows(name)

    @property
    def name(self) -> str:
        """The name in logs, the class name in snake case."""
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
        """Add a batch of one domain; a validator ignores domains that it does not use.

        Args:
            features: Shape (N, d).
            assignments: Shape (N, K), class probabilities: each row sums to 1.
            labels: Shape (N,), integers in 0..K-1, of source samples; None for target samples.
            domain: The domain of the samples.
            head: The head that gave the assignments; some validators need its centroids.

        Raises:
            ValueError: If a shape is wrong, the domain is unknown, labels are given for target
                samples or missing for source samples, or a head is needed and missing.
        """
        check_choice("domain", domain, get_args(Domain))
        check_matrix("features", features, ("N", None), ("d", None))
        num_samples = features.shape[0]
        check_matrix("assignments", assignments, ("N", num_samples), ("K", None))
        if domain == "source":
            if labels is None:
                raise ValueError("labels must be given for source samples, got None")
            check_labels(labels, num_samples, assignments.shape[1])
        elif labels is not None:
            raise ValueError(
                "labels must be None for target samples, as selection has to do without them, "
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
                self.num_source = self.num_source + num_samples
                self._update_source(features, assignments, labels.long())
            else:
                self.num_target = self.num_target + num_samples
                self._update_target(features, assignments, head)

    def compute(self) -> Tensor:
        """Compute a scalar from all samples since the last reset, of all ranks."""
        counts = {"source": self.num_source, "target": self.num_target}
        for domain in self.domains:
            if counts[domain] == 0:
                warnings.warn(f"{self.name} is nan: it got no {domain} samples", stacklevel=2)
                return self._nan()
        if self.num_not_finite > 0:
            return self._nan()
        with torch.no_grad(), full_precision(self.num_target.device):
            return self._value()

    def _update_source(self, features: Tensor, assignments: Tensor, labels: Tensor) -> None:
        """Keep what is needed of source samples, (N, d) and (N, K) in float32, and labels (N,)."""
        raise NotImplementedError(f"{type(self).__name__} must keep what it needs of the source")

    def _update_target(self, features: Tensor, assignments: Tensor, head: OptionalHead) -> None:
        """Keep what is needed of target samples, (N, d) and (N, K) in float32."""
        raise NotImplementedError(f"{type(self).__name__} must keep what it needs of the target")

    @abstractmethod
    def _value(self) -> Tensor:
        """Return the value, a scalar; there are samples, and all are finite."""

    def _nan(self) -> Tensor:
        return torch.full((), torch.nan, device=self.num_target.device)

    def _add_rows(self, name: str) -> None:
        # Flat: ranks gather tensors with one number of dimensions only, and torchmetrics adds an
        # empty one-dimensional tensor where a rank has no samples.
        self.add_state(name, [], dist_reduce_fx="cat")
        self.add_state(f"{name}_width", torch.zeros((), dtype=torch.long), dist_reduce_fx="max")

    def _append(self, name: str, rows: Tensor) -> None:
        getattr(self, name).append(rows.flatten())
        width = getattr(self, f"{name}_width")
        setattr(self, f"{name}_width", torch.full_like(width, rows.shape[1]))

    def _rows(self, name: str) -> Tensor:
        width = int(getattr(self, f"{name}_width"))
        return dim_zero_cat(getattr(self, name)).view(-1, width)


class AssignmentValidator(Validator):
    """Base of validators that need the class probabilities of all target samples, 4·N·K bytes."""

    _row_names = ("target_assignments",)

    def _update_target(self, features: Tensor, assignments: Tensor, head: OptionalHead) -> None:
        self._append("target_assignments", assignments)
