"""What base methods of both tasks share: a weighted, scheduled term of the objective."""

from __future__ import annotations

import re
from abc import ABC
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from supercm_pl.core.ramps import Ramp


class TermValue(NamedTuple):
    """What a term returns for a step.

    Attributes:
        loss: A scalar, not yet weighted.
        logs: More scalars, logged under ``train/<name>_<key>``.
    """

    loss: Tensor
    logs: Mapping[str, Tensor] = {}


class Term(nn.Module, ABC):
    """A term of the objective, ``weight * ramp(progress) * forward(step).loss``.

    Its parameters and buffers are trained and saved with the model because it is a module. It never
    touches the optimizer, the trainer or the data, and takes its schedule from ``step.progress``.

    Args:
        weight: Weight of the term, ``>= 0``.
        ramp: How the weight grows over training; ``None``: full from the start.

    Raises:
        ValueError: If ``weight`` is negative or not finite.
    """

    def __init__(self, weight: float = 1.0, ramp: Ramp | None = None) -> None:
        super().__init__()
        if not 0.0 <= weight < float("inf"):
            raise ValueError(f"weight must be a number of 0 or more, got {weight}")
        self.weight = weight
        self.ramp = ramp

    @property
    def name(self) -> str:
        """The name in logs: the class name in snake case."""
        words = re.sub(r"([a-z0-9])([A-Z])|([A-Z])(?=[A-Z][a-z])", r"\1\3_\2", type(self).__name__)
        return words.lower()

    def weight_at(self, progress: float) -> float:
        """The weight of the term at ``progress``."""
        return self.weight * (1.0 if self.ramp is None else self.ramp(progress))
