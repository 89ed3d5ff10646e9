"""Training steps made by hand, for the tests of the regularizers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from supercm_pl.core.step import Rows, Step


def rows_of(logits: Tensor, inputs: Tensor | None = None) -> Rows:
    """Rows of a forward pass that gave these logits; they are the features as well."""
    inputs = torch.zeros(len(logits), 1) if inputs is None else inputs
    return Rows(inputs, logits, logits, logits.softmax(dim=1))


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
            "rows": rows_of,
            "frozen_rows": rows_of,
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

    The forward pass holds every view, each by itself; ``step.rows`` runs the model again.
    """

    def rows(inputs: Tensor) -> Rows:
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
            "rows": rows,
            "frozen_rows": rows,
            **known,
        }
    )
