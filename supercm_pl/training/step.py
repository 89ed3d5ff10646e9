"""What a training step has: rows of its forward pass, and what terms may ask for beyond."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Outputs(NamedTuple):
    """What one forward pass gives for a set of ``N`` samples.

    Attributes:
        inputs: ``(N, ...)``, as the backbone received them.
        features: ``(N, d)``.
        logits: ``(N, K)``.
        assignments: ``(N, K)``, rows sum to 1.
    """

    inputs: Tensor
    features: Tensor
    logits: Tensor
    assignments: Tensor


@dataclass(frozen=True, kw_only=True)
class Step:
    """A training step, as every term of the objective sees it.

    The rows of the step's forward pass are by view; views of one stream hold the same samples in
    the same order. In domain adaptation the labeled stream is the source and the unlabeled one is
    the target, so that a semi-supervised base method works on the target as it is.

    Attributes:
        labels: ``(N_l,)`` int64, of the labeled rows.
        labeled: Labeled rows by view: ``"weak"`` unless no one needs it, and ``labeled_views``.
        unlabeled: Unlabeled rows by view: those that some term names in its ``views``, and
            ``"weak"`` where SuperCM needs it.
        labeled_inputs: Inputs ``(N_l, ...)`` of the labeled samples by view, forwarded or not.
        unlabeled_inputs: Inputs ``(N_u, ...)`` of the unlabeled samples by view.
        index: ``(N_u,)`` int64, which samples of the unlabeled stream these are; ``None`` unless a
            term has ``needs_index``.
        num_unlabeled: Samples of the unlabeled stream; ``None`` where the data module can't tell.
        progress: Fraction of the run's optimizer steps already taken, in ``[0, 1]``.
        extra_forward: Another forward pass of inputs ``(N, ...)``, with gradients unless the caller
            turns them off; batch norm treats them as the module's ``batch_norm`` says.
        forward_frozen_bn: The same, without an update of the running statistics of batch norm.
    """

    labels: Tensor
    labeled: Mapping[str, Outputs]
    unlabeled: Mapping[str, Outputs]
    labeled_inputs: Mapping[str, Tensor]
    unlabeled_inputs: Mapping[str, Tensor]
    progress: float
    extra_forward: Callable[[Tensor], Outputs]
    forward_frozen_bn: Callable[[Tensor], Outputs]
    index: Tensor | None = None
    num_unlabeled: int | None = None
