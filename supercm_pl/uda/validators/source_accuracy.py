"""Accuracy on the source domain, the baseline of all validators."""

from __future__ import annotations

from torch import Tensor

from supercm_pl.uda.validators.validator import Validator


class SourceAccuracy(Validator):
    """Fraction of source samples whose most probable class is right, in [0, 1].

    It knows nothing of the target, yet in many cases no other validator does better (Musgrave,
    Belongie, Lim: Three new validators and a large-scale benchmark ranking for unsupervised domain
    adaptation. arXiv 2208.07360). Use source samples held out of training.

    Example:
        >>> import torch
        >>> accuracy = SourceAccuracy()
        >>> assignments = torch.tensor([[0.9, 0.1], [0.6, 0.4]])
        >>> accuracy.update(torch.zeros(2, 3), assignments, torch.tensor([0, 1]), domain="source")
        >>> accuracy.compute()
        tensor(0.5000)
    """

    domains = ("source",)
    _counts = ("num_right",)

    num_right: Tensor

    def _update_source(self, features: Tensor, assignments: Tensor, labels: Tensor) -> None:
        self.num_right = self.num_right + (assignments.argmax(dim=1) == labels).sum()

    def _value(self) -> Tensor:
        return self.num_right / self.num_source
