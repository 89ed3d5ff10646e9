"""Entropy minimization: predictions should be confident."""

from __future__ import annotations

from supercm_pl.training.method import Method, MethodLoss, Step


class EntropyMinimization(Method):
    r"""Mean entropy of the class probabilities.

    .. math::
        R = -\frac{1}{N} \sum_i \sum_k p_k(x_i) \log p_k(x_i)

    with :math:`p` the softmax of the logits: Grandvalet and Bengio, *Semi-supervised Learning by
    Entropy Minimization* (2005). Together with :class:`VAT` it is the "VAT + EntMin" of Miyato et
    al. (2018), with their weight of 1 from the start; Oliver et al. (2018) found 0.06 best there.
    """

    def forward(self, step: Step) -> MethodLoss:
        """Return the entropy of the weak view of the unlabeled samples."""
        log_probabilities = step.unlabeled["weak"].logits.log_softmax(dim=1)
        entropies = -(log_probabilities.exp() * log_probabilities).sum(dim=1)
        return MethodLoss(entropies.mean())
