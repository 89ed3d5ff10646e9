"""The contract of a semi-supervised base method."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from supercm_pl.core.module import Rows
from supercm_pl.core.term import Term, TermValue


@dataclass(frozen=True)
class SSLStep:
    """What a training step has, handed to every regularizer.

    Attributes:
        labeled: The labeled rows, weak view.
        labels: ``(N_l,)`` int64.
        unlabeled: The unlabeled rows of each view, by the view's name; the same samples in the same
            order.
        progress: Fraction of the run's optimizer steps already taken, in ``[0, 1]``.
        rows: Another forward pass of inputs ``(N, ...)`` with gradients, for methods that need one.
    """

    labeled: Rows
    labels: Tensor
    unlabeled: Mapping[str, Rows]
    progress: float
    rows: Callable[[Tensor], Rows]


class Regularizer(Term):
    """A term on the unlabeled rows.

    A subclass says which views of the unlabeled rows it needs, and implements :meth:`forward`.
    """

    views: tuple[str, ...] = ("weak",)
    """``"weak"`` and ``"strong"``; ``"weak_2"`` is a second, independent draw of the weak view."""

    @abstractmethod
    def forward(self, step: SSLStep) -> TermValue:
        """The term on this step's rows."""
