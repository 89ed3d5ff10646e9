"""The data of a training step that a method receives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Outputs(NamedTuple):
    """The outputs of a forward pass over ``N`` samples.

    Attributes:
        inputs: ``(N, ...)``, as the backbone received them.
        features: ``(N, d)``.
        logits: ``(N, K)``.
        assignments: ``(N, K)``, each row sums to 1.
    """

    inputs: Tensor
    features: Tensor
    logits: Tensor
    assignments: Tensor


class TrainingFeatures(NamedTuple):
    """What the network gives for all training samples, without augmentation, on the CPU.

    Attributes:
        labeled: ``(M_l, d)``.
        labels: ``(M_l,)`` int64.
        unlabeled: ``(M_u, d)``, in the order of the numbers in ``Step.index``.
        logits: ``(M_l + M_u, K)``, the labeled samples first.
        described: What a given function returned for the inputs of all samples, tensors with
            ``M_l + M_u`` rows in the same order.
    """

    labeled: Tensor
    labels: Tensor
    unlabeled: Tensor
    logits: Tensor
    described: tuple[Tensor, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Step:
    """A training step: the outputs of its forward passes, labels and progress.

    All views of one part of the data hold the same samples in the same order. In domain adaptation
    the labeled part is the source and the unlabeled part is the target, so semi-supervised methods
    run on the target unchanged.

    Attributes:
        labels: ``(N_l,)`` int64, of the labeled samples.
        labeled: Outputs of the labeled samples by view: ``"weak"``, unless nothing uses it, and
            the ``labeled_views`` of the methods.
        unlabeled: Outputs of the unlabeled samples by view: the ``views`` of the methods, and
            ``"weak"`` if SuperCM is on.
        labeled_inputs: Inputs ``(N_l, ...)`` by view, whether they were forwarded or not.
        unlabeled_inputs: Inputs ``(N_u, ...)`` by view, whether they were forwarded or not.
        companions: Inputs of the other samples and views in the forward pass of the unlabeled weak
            view, which batch norm normalized together with it.
        numbers: ``(N_u,)`` int64, the numbers of the unlabeled samples in their part of the data,
            which :attr:`index` gives; ``None`` unless a method has ``needs_index``.
        num_unlabeled: Number of samples in that part; ``None`` if the data module does not know.
        progress: Fraction of the run that is over, in ``[0, 1]``: of its optimizer steps, or of
            ``max_time``; NaN in a run without a limit.
        steps_taken: Number of optimizer steps before this one.
        extra_forward: Runs a further forward pass of inputs ``(N, ...)``, with gradients unless
            the caller turns them off. Batch norm follows the module's ``batch_norm``.
        forward_frozen_bn: The same, but the running statistics of batch norm stay as they are.
        training_features: Computes the features of all training samples, which takes as long as an
            evaluation of them, and the results of a function of their inputs, if one is given.
    """

    labels: Tensor
    labeled: Mapping[str, Outputs]
    unlabeled: Mapping[str, Outputs]
    labeled_inputs: Mapping[str, Tensor]
    unlabeled_inputs: Mapping[str, Tensor]
    progress: float
    extra_forward: Callable[[Tensor], Outputs]
    forward_frozen_bn: Callable[[Tensor], Outputs]
    companions: tuple[Tensor, ...] = ()
    numbers: Tensor | None = None
    num_unlabeled: int | None = None
    steps_taken: int = 0
    training_features: Callable[..., TrainingFeatures] | None = None

    @property
    def index(self) -> Tensor:
        """``(N_u,)`` int64, the numbers of the unlabeled samples in their part of the data."""
        if self.numbers is None:
            raise ValueError(
                "step.index is unknown: write needs_index = True in the method's class"
            )
        return self.numbers
