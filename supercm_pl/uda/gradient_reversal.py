"""Gradient reversal, by which features learn to defeat what reads them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def reverse_gradient(tensor: Tensor, factor: float = 1.0) -> Tensor:
    """The tensor as it is; its gradient times ``-factor``.

    Ganin and Lempitsky, *Unsupervised Domain Adaptation by Backpropagation* (ICML 2015).

    Args:
        tensor: Any shape.
        factor: ``λ``, ``>= 0``.

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
