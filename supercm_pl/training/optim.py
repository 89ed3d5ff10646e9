"""Optimizers and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from supercm_pl.checks import (
    check_at_least,
    check_interval,
    check_not_negative,
    check_optional,
    shown,
)

if TYPE_CHECKING:  # the estimator imports this file, and must not need Lightning
    from lightning.pytorch.utilities.types import LRSchedulerConfigType

# Defined here, not imported from `lightning.pytorch.cli`, which needs jsonargparse.
OptimizerCallable = Callable[[Iterable[Any]], Optimizer]
"""Takes parameters, or groups of them."""
LRSchedulerCallable = Callable[[Optimizer], LRScheduler | ReduceLROnPlateau]


def build_optimizer(
    module: nn.Module,
    backbone: nn.Module,
    make: OptimizerCallable,
    backbone_lr_factor: float,
    lr: float | None = None,
) -> Optimizer:
    """Build an optimizer of a module's trainable parameters, with a separate rate for its backbone.

    That rate is a multiple, ``backbone_lr_factor``, of the rate of all other parameters; with 1,
    there is a single group. ``lr`` replaces the rate that ``make`` sets.
    """
    build = partial(_build, make, lr)
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("no parameter of the module is trainable: write module.unfreeze()")
    if backbone_lr_factor == 1.0:
        return build(parameters)
    slow = set(backbone.parameters())
    rest = [p for p in parameters if p not in slow]
    trained = [p for p in parameters if p in slow]
    optimizer = build([{"params": group} for group in (rest, trained) if group])
    if trained:
        optimizer.param_groups[-1]["lr"] *= backbone_lr_factor
    return optimizer


def _build(make: OptimizerCallable, lr: float | None, parameters: Iterable[Any]) -> Optimizer:
    optimizer = make(parameters)
    if not hasattr(optimizer, "param_groups"):
        raise TypeError(f"optimizer must return a torch.optim.Optimizer, got {shown(optimizer)}")
    for group in optimizer.param_groups:
        # NumPy's numbers would go into checkpoints, which `weights_only=True` then rejects.
        group |= {name: v.item() for name, v in group.items() if isinstance(v, np.generic)}
        group["lr"] = group["lr"] if lr is None else lr
    return optimizer


def schedule_settings(schedule: Any) -> LRSchedulerConfigType:
    """Return Lightning's settings of a schedule: by steps, a plateau's by epochs, or as given."""
    if isinstance(schedule, dict):
        given: LRSchedulerConfigType = schedule  # type: ignore[assignment]
        return given
    if not hasattr(schedule, "step"):
        raise TypeError(f"lr_scheduler must return a schedule of the rate, got {shown(schedule)}")
    if not isinstance(schedule, ReduceLROnPlateau):
        return {"scheduler": schedule, "interval": "step"}
    monitor = getattr(schedule, "monitor", None)  # of Lightning's subclass
    if monitor is None:
        raise ValueError(
            "lr_scheduler must name the metric that it monitors: use "
            "lightning.pytorch.cli.ReduceLROnPlateau with monitor, such as val/acc"
        )
    return {"scheduler": schedule, "interval": "epoch", "monitor": monitor}


class WarmupCosineLR(LRScheduler):
    r"""Linear warm-up, then a cosine down to ``final_factor``, by optimizer steps.

    At step :math:`t` of :math:`T`, with :math:`w` warm-up steps and :math:`p = (t - w) / (T - w)`,
    the base rate is multiplied by

    .. math::
        \frac{t + 1}{w} \quad (t < w), \qquad
        f + (1 - f)\,\tfrac{1}{2}\left(1 + \cos \pi p\right) \quad (t \ge w),

    or with ``periods`` :math:`c` by :math:`f + (1 - f) \cos 2 \pi c p`. FixMatch and the methods
    that follow it have :math:`c = 7/32`, which falls to 0.195 (Sohn et al. 2020, section 2.3).

    Args:
        optimizer: The optimizer whose rates are scheduled.
        warmup_steps: Steps of linear warm-up, ``>= 0``. Even the first step has a positive rate.
        total_steps: Length of the run in optimizer steps. ``None``: the modules of this package
            set it to that of the trainer, for any schedule with this attribute; under ``max_time``,
            to what remains at the present speed.
        final_factor: Fraction of the base rate at the end, in ``[0, 1]``; with ``periods``, where
            the cosine is 0.
        periods: Periods of a cosine from its maximum on, in ``(0, 0.25]``; ``None``: half a period,
            from its maximum to its minimum.
        last_epoch: The step to resume from, as in every PyTorch schedule.

    Raises:
        ValueError: If a value is outside its range.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        >>> schedule = WarmupCosineLR(optimizer, warmup_steps=2, total_steps=4)
        >>> rates = []
        >>> for _ in range(4):
        ...     rates.append(round(schedule.get_last_lr()[0], 3))
        ...     optimizer.step()
        ...     schedule.step()
        >>> rates
        [0.5, 1.0, 1.0, 0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: int = 0,
        total_steps: int | None = None,
        final_factor: float = 0.0,
        periods: float | None = None,
        last_epoch: int = -1,
    ) -> None:
        check_at_least("warmup_steps", warmup_steps, 0)
        self.periods = check_optional(check_interval, "periods", periods, "(0, 0.25]")
        if total_steps is not None:
            check_at_least("total_steps", total_steps, 1)
            if warmup_steps > total_steps:
                raise ValueError(
                    f"warmup_steps must be at most the total_steps, {total_steps}, "
                    f"got {warmup_steps}"
                )
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.final_factor = check_interval("final_factor", final_factor, "[0, 1]")
        super().__init__(optimizer, last_epoch)

    def factor(self, step: int) -> float:
        """Multiplier of the base rate at ``step`` (0-based)."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.total_steps is None:
            return 1.0
        length = max(self.total_steps - self.warmup_steps, 1)
        passed = min((step - self.warmup_steps) / length, 1.0)
        if self.periods is None:
            cosine = 0.5 * (1 + math.cos(math.pi * passed))
        else:
            cosine = math.cos(2 * math.pi * self.periods * passed)
        return self.final_factor + (1 - self.final_factor) * cosine

    def get_lr(self) -> list[float]:  # type: ignore[override]  # newer torch says float | Tensor
        """Learning rate of each parameter group at the current step."""
        factor = self.factor(self.last_epoch)
        return [float(base) * factor for base in self.base_lrs]


class InverseDecayLR(LRScheduler):
    r"""Multiply the base rate by :math:`(1 + a t)^{-b}` at step :math:`t`.

    Ganin et al., *Domain-Adversarial Training of Neural Networks* (JMLR 2016), section 5.2.2, where
    :math:`a t = 10 p` for progress :math:`p`, and :math:`b = 0.75`.

    Args:
        optimizer: The optimizer whose rates are scheduled.
        gamma: ``a`` per step, ``>= 0``.
        power: ``b``, ``>= 0``.
        last_epoch: The step to resume from, as in every PyTorch schedule.
    """

    def __init__(
        self, optimizer: Optimizer, gamma: float = 1e-3, power: float = 0.75, last_epoch: int = -1
    ) -> None:
        self.gamma = check_not_negative("gamma", gamma)
        self.power = check_not_negative("power", power)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:  # type: ignore[override]  # newer torch says float | Tensor
        """Learning rate of each parameter group at the current step."""
        factor = (1 + self.gamma * self.last_epoch) ** -self.power
        return [float(base) * factor for base in self.base_lrs]
