"""What a method of domain adaptation receives for a training step."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from supercm_pl.training.step import Outputs, Step


@dataclass(frozen=True, kw_only=True)
class UDAStep(Step):
    """A training step of domain adaptation.

    The labeled samples are those of the source, followed by the labeled target samples of
    semi-supervised adaptation.

    Attributes:
        num_source: Number of source samples among the labeled ones.
        domains: ``(num_source,)`` int64 in ``0..S-1``, which of several sources; ``None`` for one.
    """

    num_source: int
    domains: Tensor | None = None

    @property
    def source(self) -> Outputs:
        """Outputs of the source samples, weak view."""
        return Outputs(*(part[: self.num_source] for part in self.labeled["weak"]))

    @property
    def source_labels(self) -> Tensor:
        """``(num_source,)`` int64."""
        return self.labels[: self.num_source]

    @property
    def target(self) -> Outputs:
        """Outputs of the unlabeled target samples, weak view."""
        return self.unlabeled["weak"]
