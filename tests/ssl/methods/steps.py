"""Training steps made by hand, for the tests of the methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from supercm_pl.training.step import Outputs, Step


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
