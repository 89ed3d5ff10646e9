"""The base of methods that align layers of the model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor

from supercm_pl.checks import check_choice
from supercm_pl.training.method import Method, MethodLoss, Ramp
from supercm_pl.uda.step import UDAStep

Layer = Literal["features", "logits"]


class LayerMethod(Method):
    """Base of methods whose loss is a distance of source and target, summed over layers.

    Args:
        layers: What to align: ``"features"``, ``"logits"`` or both.
    """

    step_type = UDAStep

    def __init__(
        self,
        *,
        layers: Sequence[Layer] = ("features",),
        weight: float = 1.0,
        ramp: Ramp | float | None = None,
    ) -> None:
        super().__init__(weight=weight, ramp=ramp)
        if isinstance(layers, str) or not 0 < len(layers) == len(set(layers)):
            raise ValueError(f"layers must be different names, at least one, got {layers!r}")
        self.layers = tuple(check_choice("layers", layer, get_args(Layer)) for layer in layers)

    @abstractmethod
    def distance(self, source: Tensor, target: Tensor) -> Tensor:
        """The distance of source ``(N_s, d)`` and target ``(N_t, d)``, a scalar."""

    def forward(self, step: UDAStep) -> MethodLoss:
        """Return the sum of the distances of the layers."""
        distances = [
            self.distance(getattr(step.source, layer), getattr(step.target, layer))
            for layer in self.layers
        ]
        return MethodLoss(sum(distances[1:], distances[0]))
