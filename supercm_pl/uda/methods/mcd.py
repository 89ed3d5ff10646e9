"""MCD: two classifiers look for target samples on which they disagree."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supercm_pl.clustering import ClusteringHead
from supercm_pl.precision import full_precision, math_dtype
from supercm_pl.training.method import MethodLoss
from supercm_pl.uda.components.adversarial import AdversarialMethod
from supercm_pl.uda.step import UDAStep


class MCD(AdversarialMethod):
    r"""Maximum classifier discrepancy between the head and a second classifier.

    Both learn the labels, and to disagree on the target; the features learn to make them agree:

    .. math::
        \min_{F_1, F_2} \max_f \quad - \mathbb{E}_t \, \frac{1}{K}
        \sum_k \big| p_1(k \mid f(x_t)) - p_2(k \mid f(x_t)) \big|

    Saito et al., *Maximum Classifier Discrepancy for Unsupervised Domain Adaptation* (CVPR 2018),
    section 3. The paper alternates three steps, of which the last, on the features, is repeated up
    to four times. With one optimizer they take place at once, by a reversed gradient, as in the
    one-step training of the authors' code; ``max_reversal=4`` has the weight of four repetitions.
    Their code passes each domain through the network by itself, so the module's ``batch_norm`` is
    ``"separate"`` unless you set it: with mixed statistics the method can do harm.

    The cross-entropy of the labeled samples is that of both classifiers, so ``train/ce`` is a sum
    of two, and ``weight`` applies to the discrepancy only. In the three steps, the classifiers
    learn from the cross-entropy twice, in the first and in the second step; here once.

    As the discrepancy is a mean over classes, raise the weight with their number: 3.2 for 10
    classes, 10 for 31 and 30 for 65 are in use.
    """

    replaces_supervised = True
    separate_batch_norm = True

    head_weight: Tensor
    head_bias: Tensor | None

    def build(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Create the second classifier, and a copy of the head's weights."""
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
        """Return minus the discrepancy, and the cross-entropy of both classifiers."""
        labeled, target = step.labeled["weak"], step.target
        second = self.classifier(self.reverse(target.features, step))
        supervised = F.cross_entropy(labeled.logits, step.labels)
        supervised = supervised + F.cross_entropy(self.classifier(labeled.features), step.labels)
        return MethodLoss(-discrepancy(self._first_logits(step), second), supervised=supervised)

    def _first_logits(self, step: UDAStep) -> Tensor:
        """The head's logits, with a gradient that is reversed on its way to the features.

        The head ran on features whose gradient is not reversed. The same logits from the copied
        weights take that part of the gradient away, and put the reversed one in its place.
        """
        target = step.target
        dtype = math_dtype(target.features)
        bias = None if self.head_bias is None else self.head_bias.to(dtype)
        with full_precision(target.features.device):
            same = F.linear(target.features.to(dtype), self.head_weight.to(dtype), bias)
            return target.logits + (self.reverse(same, step) - same)


def discrepancy(first: Tensor, second: Tensor) -> Tensor:
    """Mean absolute difference of the probabilities of logits ``(N, K)``, in ``[0, 2 / K]``.

    Example:
        >>> discrepancy(torch.tensor([[99.0, 0.0]]), torch.tensor([[0.0, 99.0]])).item()
        1.0
    """
    one, other = (z.softmax(dim=1, dtype=math_dtype(z)) for z in (first, second))
    return (one - other).abs().mean()
