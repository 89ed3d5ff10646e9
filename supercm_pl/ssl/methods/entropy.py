"""Entropy minimization: predictions should be confident."""

from __future__ import annotations

from supercm_pl.training.method import Method, MethodLoss
from supercm_pl.training.ramps import Ramp
from supercm_pl.training.step import Step


class EntropyMinimization(Method):
    r"""Mean entropy of the class probabilities.

    .. math::
        R = -\frac{1}{N} \sum_i \sum_k p_k(x_i) \log p_k(x_i)

    with :math:`p` the softmax of the logits: Grandvalet and Bengio, *Semi-supervised Learning by
    Entropy Minimization* (2005). Beside :class:`VAT` it is the "VAT + EntMin" of Miyato et al.
    (2018), with their weight of 1 from the start; Oliver et al. (2018) found 0.06 there.

    Args:
        weight: Weight of the term, ``>= 0``.
        ramp: How it grows over training; a number is the end of a
            :class:`~supercm_pl.training.ramps.SigmoidRampUp`; ``None``: full from the start.

    Raises:
        ValueError: If an argument is out of range.
    """

    views = ("weak",)
    batch_norm_policy = "all"

    def __init__(self, weight: float = 1.0, ramp: Ramp | float | None = None) -> None:
        super().__init__(weight, ramp)

    def forward(self, step: Step) -> MethodLoss:
        """The term on this step's rows."""
        log_probabilities = step.unlabeled["weak"].logits.log_softmax(dim=1)
        entropies = -(log_probabilities.exp() * log_probabilities).sum(dim=1)
        return MethodLoss(entropies.mean())
