"""MCD: two classifiers look for target samples on which they disagree."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supercm_pl.clustering import ClusteringHead
from supercm_pl.precision import full_precision, math_dtype
from supercm_pl.training.method import MethodLoss, Ramp
from supercm_pl.training.step import Outputs
from supercm_pl.uda.gradient_reversal import reverse_gradient
from supercm_pl.uda.methods.adversarial import AdversarialMethod
from supercm_pl.uda.step import UDAStep


class MCD(AdversarialMethod):
    r"""Maximum classifier discrepancy between the head and a second classifier.

    Both learn the labels, and to disagree on the target; the features learn that they agree:

    .. math::
        \min_{F_1, F_2} \max_f \quad - \mathbb{E}_t \, \frac{1}{K}
        \sum_k \big| p_1(k \mid f(x_t)) - p_2(k \mid f(x_t)) \big|

    Saito et al., *Maximum Classifier Discrepancy for Unsupervised Domain Adaptation* (CVPR 2018),
    section 3. The paper alternates three steps, of which the last, on the features, is repeated up
    to four times. Here all take place at once, by a reversed gradient, as in the one-step training
    of the authors' code: alternation is not to be had from one optimizer. ``max_reversal=4`` has
    the weight of four repetitions. Their code passes each domain through the network by itself, so
    give the module ``batch_norm="separate"``: with mixed statistics the method can do harm.

    The cross-entropy of the labeled rows is that of both classifiers, so ``train/ce`` is a sum of
    two, and ``weight`` is that of the discrepancy alone. As the discrepancy is a mean over classes,
    it wants a weight that grows with their number: 10 for 31 classes and 30 for 65 are in use.

    Args:
        weight: Weight of the term, ``>= 0``.
        ramp: How the weight grows over training; ``None``: full from the start.
        reversal: How ``λ`` grows over training; ``None``:
            :class:`~supercm_pl.training.ramps.AdversarialRampUp`.
        max_reversal: ``λ`` where ``reversal`` is 1, ``>= 0``.

    Raises:
        ValueError: If a number is out of range.
    """

    replaces_supervised = True

    head_weight: Tensor
    head_bias: Tensor | None

    def __init__(
        self,
        weight: float = 1.0,
        ramp: Ramp | None = None,
        *,
        reversal: Ramp | None = None,
        max_reversal: float = 1.0,
    ) -> None:
        super().__init__(weight=weight, ramp=ramp, reversal=reversal, max_reversal=max_reversal)

    def build(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Make the second classifier, and a copy of the head's weights."""
        first = head.classifier
        self.classifier = nn.Linear(head.in_features, head.num_classes, first.bias is not None)
        self.register_buffer("head_weight", first.weight.detach().clone())
        bias = None if first.bias is None else first.bias.detach().clone()
        self.register_buffer("head_bias", bias)

    @torch.no_grad()
    def after_step(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Copy the head's weights."""
        self.head_weight.copy_(head.classifier.weight)
        if self.head_bias is not None:
            self.head_bias.copy_(head.classifier.bias)

    def forward(self, step: UDAStep) -> MethodLoss:
        """Minus the discrepancy, and the cross-entropy of both classifiers."""
        labeled, target = step.labeled["weak"], step.target
        reversal = self.reversal_at(step.progress)
        first = self._first_logits(target, reversal)
        second = self.classifier(reverse_gradient(target.features, reversal))
        supervised = F.cross_entropy(labeled.logits, step.labels)
        supervised = supervised + F.cross_entropy(self.classifier(labeled.features), step.labels)
        return MethodLoss(-discrepancy(first, second), supervised=supervised)

    def _first_logits(self, target: Outputs, reversal: float) -> Tensor:
        """The head's logits, with a gradient that is reversed on its way to the features.

        The head was run on features whose gradient is not. The same logits from the copied weights
        take that part of the gradient away again, and bring the reversed one in its place.
        """
        dtype = math_dtype(target.features)
        bias = None if self.head_bias is None else self.head_bias.to(dtype)
        with full_precision(target.features.device):
            same = F.linear(target.features.to(dtype), self.head_weight.to(dtype), bias)
            return target.logits + (reverse_gradient(same, reversal) - same)


def discrepancy(first: Tensor, second: Tensor) -> Tensor:
    """Mean over rows and classes of the probabilities' absolute difference.

    Args:
        first: Logits ``(N, K)`` of one classifier.
        second: Those of the other.

    Returns:
        A scalar in ``[0, 2 / K]``.

    Example:
        >>> discrepancy(torch.tensor([[99.0, 0.0]]), torch.tensor([[0.0, 99.0]])).item()
        1.0
    """
    one, other = (z.softmax(dim=1, dtype=math_dtype(z)) for z in (first, second))
    return (one - other).abs().mean()
