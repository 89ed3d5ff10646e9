"""The contract of a domain-adaptation base method."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor

from supercm_pl.core.step import Rows, Step
from supercm_pl.core.term import Term, TermValue


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
    def source(self) -> Rows:
        """Source rows, weak view."""
        return Rows(*(part[: self.num_source] for part in self.labeled["weak"]))

    @property
    def source_labels(self) -> Tensor:
        """``(num_source,)`` int64."""
        return self.labels[: self.num_source]

    @property
    def target(self) -> Rows:
        """Unlabeled target rows, weak view."""
        return self.unlabeled["weak"]


class Adapter(Term):
    """A term that brings source and target together.

    A subclass implements :meth:`forward`, and says in class attributes which views it needs beside
    the weak ones. What depends on the model's sizes, as a discriminator, it makes in ``attach``.
    """

    labeled_views: tuple[str, ...] = ("weak",)
    step_type = UDAStep

    @abstractmethod
    def forward(self, step: UDAStep) -> TermValue:
        """The term on this step's rows."""
