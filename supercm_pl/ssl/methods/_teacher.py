"""A teacher that is the moving average of the model it teaches."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from supercm_pl.checks import check_interval
from supercm_pl.clustering import ClusteringHead


class Teacher(nn.Module):
    r"""An exponential moving average of a backbone and its head.

    After update :math:`t = 1, 2, \dots` its parameters are

    .. math::
        \theta'_t = a_t\,\theta'_{t-1} + (1 - a_t)\,\theta_t, \qquad
        a_t = \min(1 - 1 / (t + 1),\ \text{momentum}),

    a plain mean of all so far until that reaches further back than the moving average: Tarvainen
    and Valpola, *Mean teachers are better role models* (2017), and their code.

    As there, batch norm of the teacher has running statistics of its own, which its own passes
    move. Other buffers, centroids among them, are those of the model.

    The teacher takes no gradients, so no optimizer sees it. It is saved with whoever holds it.

    Args:
        backbone: Maps inputs ``(N, ...)`` to features ``(N, d)``; copied.
        head: Maps them to logits ``(N, K)``; copied.
        momentum: The largest ``a``, in ``[0, 1)``.

    Attributes:
        updates: ``t``, a scalar, int64.

    Raises:
        ValueError: If ``momentum`` is out of range.
    """

    updates: Tensor

    def __init__(self, backbone: nn.Module, head: ClusteringHead, momentum: float) -> None:
        super().__init__()
        self.momentum = check_momentum(momentum)
        self.backbone = copy.deepcopy(backbone)
        self.head = copy.deepcopy(head)
        self.requires_grad_(False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``(N, K)`` of inputs ``(N, ...)``, without gradient."""
        logits: Tensor = self.head(self.backbone(inputs)).logits
        return logits

    @torch.no_grad()
    def follow(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """One update towards the model as it is now."""
        self.updates += 1
        # On the device, as reading the count would wait for it.
        rate = (1 / (self.updates + 1)).clamp(min=1 - self.momentum)
        for mine, theirs in ((self.backbone, backbone), (self.head, head)):
            for average, new in zip(mine.parameters(), theirs.parameters(), strict=True):
                average.lerp_(new, rate.to(average.dtype))
            for layer, other in zip(mine.modules(), theirs.modules(), strict=True):
                if isinstance(layer, _BatchNorm):
                    continue
                buffers = zip(layer.buffers(False), other.buffers(False), strict=True)
                for kept, given in buffers:
                    kept.copy_(given)


def check_momentum(momentum: float) -> float:
    """The momentum.

    Raises:
        ValueError: If it is out of range.
    """
    return check_interval("momentum", momentum, "[0, 1)")
