"""A teacher: the moving average of the model that it teaches."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from supercm_pl._lightning import BatchNorm
from supercm_pl.checks import check_interval
from supercm_pl.clustering import ClusteringHead
from supercm_pl.training.method import Method, Ramp


class Teacher(nn.Module):
    r"""An exponential moving average of a backbone and its head.

    After update :math:`t = 1, 2, \dots` its parameters are

    .. math::
        \theta'_t = a_t\,\theta'_{t-1} + (1 - a_t)\,\theta_t, \qquad
        a_t = \min(1 - 1 / (t + 1),\ \text{momentum}),

    so it is a plain mean at first: Tarvainen and Valpola, *Mean teachers are better role models*
    (2017), and their code.

    As there, its batch norm has running statistics of its own, which its own forward passes
    update. Other buffers, including the centroids, are copied from the model. It has no gradients,
    so the optimizer leaves it alone, and it is saved with the method that holds it.

    Args:
        backbone: Maps inputs ``(N, ...)`` to features ``(N, d)``; copied.
        head: Maps features to logits ``(N, K)``; copied.
        momentum: The largest ``a``, in ``[0, 1)``.

    Attributes:
        updates: ``t``, a scalar, int64.
    """

    updates: Tensor

    def __init__(self, backbone: nn.Module, head: ClusteringHead, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
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
        """Update the average with the model's current parameters."""
        self.updates += 1
        # Computed on the device: reading the count would synchronize with it.
        rate = (1 / (self.updates + 1)).clamp(min=1 - self.momentum)
        for mine, theirs in ((self.backbone, backbone), (self.head, head)):
            for average, new in zip(mine.parameters(), theirs.parameters(), strict=True):
                average.lerp_(new, rate.to(average.dtype))
            for layer, other in zip(mine.modules(), theirs.modules(), strict=True):
                if isinstance(layer, BatchNorm):
                    continue
                buffers = zip(layer.buffers(False), other.buffers(False), strict=True)
                for kept, given in buffers:
                    kept.copy_(given)


class TeacherMethod(Method):
    """Base of methods with a :class:`Teacher`.

    Args:
        momentum: Of the moving average, in ``[0, 1)``.

    Attributes:
        teacher: The moving average; created when the module is built.
    """

    teacher: Teacher

    def __init__(
        self, *, momentum: float = 0.999, weight: float = 1.0, ramp: Ramp | float | None = None
    ) -> None:
        super().__init__(weight=weight, ramp=ramp)
        self.momentum = check_interval("momentum", momentum, "[0, 1)")

    def build(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Create the teacher, a copy of the model."""
        self.teacher = Teacher(backbone, head, self.momentum)

    def after_step(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Update the teacher."""
        self.teacher.follow(backbone, head)
