"""MDD: a second classifier looks for disagreement that only the target has."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supercm_pl.checks import check_at_least, check_interval
from supercm_pl.clustering import ClusteringHead
from supercm_pl.precision import math_dtype
from supercm_pl.training.method import MethodLoss, Ramp
from supercm_pl.uda.components.adversarial import AdversarialMethod
from supercm_pl.uda.step import UDAStep


class MDD(AdversarialMethod):
    r"""Margin disparity discrepancy, estimated by an auxiliary classifier and made small.

    With the classes :math:`\hat{y}` that the head predicts, on both domains, the auxiliary
    classifier :math:`g'` learns to agree with the head on the source and to disagree on the target,

    .. math::
        \gamma \, \mathbb{E}_s \big[-\log \sigma_{\hat{y}}(g'(f(x_s)))\big]
        + \mathbb{E}_t \big[-\log \big(1 - \sigma_{\hat{y}}(g'(f(x_t)))\big)\big],

    where :math:`\sigma` is softmax, and the features learn against it by a reversed gradient.

    Zhang et al., *Bridging Theory and Algorithm for Domain Adaptation* (ICML 2019), section 5.
    Their ``η`` is ``max_reversal``, which in their code grows as with ``reversal=1000``. Their main
    classifier has a hidden layer too; here it is the linear head. Labeled target samples are left
    out.

    Args:
        margin: ``γ``, the exponential of the margin, ``>= 1``: 4 for Office-31 and 2 for
            Office-Home in their code.
        hidden_features: Width of the auxiliary classifier's hidden layer, ``>= 1``.
        dropout: Probability of dropping one of its units, in ``[0, 1)``.
    """

    def __init__(
        self,
        *,
        margin: float = 4.0,
        hidden_features: int = 1024,
        dropout: float = 0.5,
        reversal: Ramp | int | None = None,
        max_reversal: float = 0.1,
        weight: float = 1.0,
        ramp: Ramp | float | None = None,
    ) -> None:
        super().__init__(reversal=reversal, max_reversal=max_reversal, weight=weight, ramp=ramp)
        self.margin = check_interval("margin", margin, "[1, inf)")
        self.hidden_features = check_at_least("hidden_features", hidden_features, 1)
        self.dropout = check_interval("dropout", dropout, "[0, 1)")

    def build(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Create the auxiliary classifier."""
        self.classifier = nn.Sequential(
            nn.Linear(head.in_features, self.hidden_features),
            nn.ReLU(),
            nn.Dropout(self.dropout),
            nn.Linear(self.hidden_features, head.num_classes),
        )

    def forward(self, step: UDAStep) -> MethodLoss:
        """Return the auxiliary classifier's loss, with its gradient reversed at the features."""
        features = torch.cat([step.source.features, step.target.features])
        logits = self.classifier(self.reverse(features, step))
        logits = logits.to(math_dtype(logits))
        source, target = logits[: step.num_source], logits[step.num_source :]
        agree = F.cross_entropy(source, step.source.logits.argmax(dim=1))
        disagree = complement_cross_entropy(target, step.target.logits.argmax(dim=1))
        return MethodLoss(self.margin * agree + disagree)


def complement_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    r"""Mean of :math:`-\log(1 - \sigma_y(z))`, the loss of the label *not* being the class.

    Logits are ``(N, K)``. Computed from log-sum-exp over all and over the other classes, so that it
    stays finite, with a gradient, where the softmax rounds to 1.

    Example:
        >>> loss = complement_cross_entropy(torch.tensor([[50.0, 0.0]]), torch.tensor([0]))
        >>> round(loss.item(), 4)
        50.0
    """
    others = logits.scatter(1, labels[:, None], float("-inf"))
    return (logits.logsumexp(dim=1) - others.logsumexp(dim=1)).mean()
