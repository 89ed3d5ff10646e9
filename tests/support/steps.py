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


def outputs_of(logits: Tensor, inputs: Tensor | None = None) -> Outputs:
    """Outputs of a forward pass that gave these logits, which are the features as well."""
    inputs = torch.zeros(len(logits), 1) if inputs is None else inputs
    return Outputs(inputs, logits, logits, logits.softmax(dim=1))


def step_of_logits(
    unlabeled: Mapping[str, Tensor],
    labeled: Mapping[str, Tensor] | None = None,
    labels: Tensor | None = None,
    **known: Any,
) -> Step:
    """A step whose forward pass gave these logits ``(N, K)``, by view."""
    return step_of_inputs(lambda logits: logits, unlabeled, labeled, labels, **known)


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

    def outputs(inputs: Tensor) -> Outputs:
        return outputs_of(model(inputs), inputs)

    labeled = {} if labeled is None else labeled
    return Step(
        **{
            "labels": torch.zeros(0, dtype=torch.long) if labels is None else labels,
            "labeled": {view: outputs(inputs) for view, inputs in labeled.items()},
            "unlabeled": {view: outputs(inputs) for view, inputs in unlabeled.items()},
            "labeled_inputs": labeled,
            "unlabeled_inputs": unlabeled,
            "progress": 0.0,
            "extra_forward": outputs,
            "forward_frozen_bn": outputs,
            **known,
        }
    )


def random_step(seed: int, *, classes: int = 4, **known: Any) -> Step:
    """A step of random logits, in two views, of 4 labeled and 8 unlabeled samples out of 10."""
    generator = torch.Generator().manual_seed(seed)

    def views(samples: int) -> dict[str, Tensor]:
        drawn = 2 * torch.randn(2, samples, classes, generator=generator)
        return dict(zip(("weak", "strong"), drawn, strict=True))

    unlabeled, labeled = views(8), views(4)
    labels = torch.randint(0, classes, (4,), generator=generator)
    index = torch.randperm(10, generator=generator)[:8]
    sampled = {"labeled_inputs": labeled, "numbers": index, "num_unlabeled": 10}
    return step_of_logits(unlabeled, labeled, labels, **{**sampled, **known})


def softmax(row: Sequence[float]) -> list[float]:
    """The softmax of one row, written as a loop."""
    total = sum(math.exp(z) for z in row)
    return [math.exp(z) / total for z in row]
