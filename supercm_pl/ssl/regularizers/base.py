"""The contract of a semi-supervised base method."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

from supercm_pl.core.step import Step
from supercm_pl.core.term import Term, TermValue

BatchNormPolicy = Literal["all", "labeled", "frozen"]


class Regularizer(Term):
    """A term on the unlabeled rows.

    A subclass says in class attributes which views it needs, and implements :meth:`forward`. What
    it makes of the model, as a teacher, it makes in ``attach``.
    """

    batch_norm: BatchNormPolicy = "all"
    """What batch norm does with unlabeled rows in the method's paper; see
    :class:`~supercm_pl.SSLModule`."""

    @abstractmethod
    def forward(self, step: Step) -> TermValue:
        """The term on this step's rows."""
