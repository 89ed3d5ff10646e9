"""Gradient reversal, and the base of methods that train features against a network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from supercm_pl.checks import check_not_negative, check_object, check_optional, check_size
from supercm_pl.training.method import Method, Ramp
from supercm_pl.training.ramps import AdversarialRampUp
from supercm_pl.uda.step import UDAStep


class AdversarialMethod(Method):
    """Base of methods whose features learn against a network that reads them.

    The network learns from the loss; the features get its gradient times ``-λ``. The ``weight``
    scales both.

    Args:
        reversal: Growth of ``λ`` over training; ``None``:
            :class:`~supercm_pl.training.ramps.AdversarialRampUp`. A whole number ``s``: with the
            number ``t`` of optimizer steps, as ``2 / (1 + exp(-t / s)) - 1``, whatever the length
            of the run. Transfer-Learning-Library has 1000.
        max_reversal: ``λ`` where ``reversal`` is 1, ``>= 0``.
    """

    step_type = UDAStep

    def __init__(
        self,
        *,
        reversal: Ramp | int | None = None,
        max_reversal: float = 1.0,
        weight: float = 1.0,
        ramp: Ramp | float | None = None,
    ) -> None:
        super().__init__(weight=weight, ramp=ramp)
        if isinstance(reversal, int):
            check_size("reversal", reversal)
        else:
            check_optional(check_object, "reversal", reversal, Ramp, "AdversarialRampUp(), or 1000")
        self.reversal = AdversarialRampUp() if reversal is None else reversal
        self.max_reversal = check_not_negative("max_reversal", max_reversal)

    @property
    def needs_progress(self) -> bool:
        """Whether the method depends on ``step.progress``."""
        return isinstance(self.reversal, Ramp) or super().needs_progress

    def reversal_at(self, step: UDAStep) -> float:
        """``λ`` of a step."""
        if isinstance(self.reversal, Ramp):
            return self.max_reversal * self.reversal(step.progress)
        # Both are the logistic function of Ganin et al., of other arguments.
        return self.max_reversal * AdversarialRampUp(1.0)(step.steps_taken / self.reversal)

    def reverse(self, tensor: Tensor, step: UDAStep) -> Tensor:
        """The tensor, with its gradient times the ``-λ`` of the step."""
        return reverse_gradient(tensor, self.reversal_at(step))


def reverse_gradient(tensor: Tensor, factor: float = 1.0) -> Tensor:
    """Return a tensor unchanged, with its gradient times ``-factor``.

    Ganin and Lempitsky, *Unsupervised Domain Adaptation by Backpropagation* (ICML 2015).

    Example:
        >>> x = torch.ones(2, requires_grad=True)
        >>> reverse_gradient(x, 0.5).sum().backward()
        >>> x.grad.tolist()
        [-0.5, -0.5]
    """
    reversed_: Tensor = _Reverse.apply(tensor, factor)
    return reversed_


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * -ctx.factor, None
