"""Training steps made by hand, for the tests of the methods."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from supercm_pl.training.step import Outputs, Step

WEAK = torch.tensor([[4.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, 0.0, 5.0], [0.0, 3.5, 1.0]])
STRONG = torch.tensor([[0.3, 0.8, -1.0], [2.0, 0.1, 0.4], [0.2, 0.1, 0.9], [-0.5, 0.6, 1.5]])


def rows_of(logits: Tensor, inputs: Tensor | None = None) -> Outputs:
    """Rows of a forward pass that gave these logits; they are the features as well."""
    inputs = torch.zeros(len(logits), 1) if inputs is None else inputs
    return Outputs(inputs, logits, logits, logits.softmax(dim=1))


def step_of_logits(
    unlabeled: Mapping[str, Tensor],
    labeled: Mapping[str, Tensor] | None = None,
    labels: Tensor | None = None,
    **known: Any,
) -> Step:
    """A step whose forward pass gave these logits ``(N, K)``, by view."""
    labeled = {} if labeled is None else labeled
    return Step(
        **{
            "labels": torch.zeros(0, dtype=torch.long) if labels is None else labels,
            "labeled": {view: rows_of(logits) for view, logits in labeled.items()},
            "unlabeled": {view: rows_of(logits) for view, logits in unlabeled.items()},
            "labeled_inputs": {},
            "unlabeled_inputs": {},
            "progress": 0.0,
            "extra_forward": rows_of,
            "forward_frozen_bn": rows_of,
            **known,
        }
    )


def step_of_inputs(
    model: Callable[[Tensor], Tensor],
    unlabeled: Mapping[str, Tensor],
    labeled: Mapping[str, Tensor] | None = None,
    labels: Tensor | None = None,
    **known: Any,
) -> Step:
    """A step on these inputs ``(N, ...)``, by view, of a model that maps inputs to logits.

    The forward pass holds every view, each by itself; ``step.extra_forward`` runs the model again.
    """

    def rows(inputs: Tensor) -> Outputs:
        return rows_of(model(inputs), inputs)

    labeled = {} if labeled is None else labeled
    return Step(
        **{
            "labels": torch.zeros(0, dtype=torch.long) if labels is None else labels,
            "labeled": {view: rows(inputs) for view, inputs in labeled.items()},
            "unlabeled": {view: rows(inputs) for view, inputs in unlabeled.items()},
            "labeled_inputs": labeled,
            "unlabeled_inputs": unlabeled,
            "progress": 0.0,
            "extra_forward": rows,
            "forward_frozen_bn": rows,
            **known,
        }
    )


def random_step(seed: int, rows: int = 8) -> Step:
    """A step of random logits (rows, 4) in a weak and a strong view."""
    generator = torch.Generator().manual_seed(seed)
    weak, strong = 2 * torch.randn(2, rows, 4, generator=generator)
    return step_of_logits({"weak": weak, "strong": strong})


def softmax(row: Sequence[float]) -> list[float]:
    """The softmax of one row, written as a loop."""
    total = sum(math.exp(z) for z in row)
    return [math.exp(z) / total for z in row]
