"""Which outputs of the model an adapter aligns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, get_args

from torch import Tensor

from supercm_pl.uda.step import UDAStep

Layer = Literal["features", "logits"]


def check_layers(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Require one or more layers, none of them twice, and return them as a tuple."""
    known = get_args(Layer)
    good = not isinstance(layers, str) and 0 < len(layers) == len(set(layers))
    if not good or any(layer not in known for layer in layers):
        raise ValueError(f"layers must be a sequence of some of {known}, got {layers!r}")
    return tuple(layers)


def outputs_of(step: UDAStep, layers: Sequence[Layer]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield source ``(N_s, d)`` and target ``(N_t, d)`` of each layer."""
    source, target = step.source, step.target
    for layer in layers:
        yield getattr(source, layer), getattr(target, layer)
