"""A training step of domain adaptation."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from supercm_pl.training.step import Outputs, Step


@dataclass(frozen=True, kw_only=True)
class UDAStep(Step):
    """A training step of domain adaptation, where the labeled rows are source before target.

    Attributes:
        num_source: How many of the labeled rows, the first, are from the source. The rest are the
            labeled target samples of semi-supervised adaptation.
        domains: ``(num_source,)`` int64 in ``0..S-1``, which of several sources; ``None`` for one.
    """

    num_source: int
    domains: Tensor | None = None

    @property
    def source(self) -> Outputs:
        """Source rows, weak view."""
        return Outputs(*(part[: self.num_source] for part in self.labeled["weak"]))

    @property
    def source_labels(self) -> Tensor:
        """``(num_source,)`` int64."""
        return self.labels[: self.num_source]

    @property
    def target(self) -> Outputs:
        """Unlabeled target rows, weak view."""
        return self.unlabeled["weak"]
