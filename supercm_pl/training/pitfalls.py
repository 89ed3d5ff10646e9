"""Settings with which a run would silently go wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn
from torch.optim import Optimizer

from supercm_pl.data.datasets import Indices
from supercm_pl.names import first_of
from supercm_pl.training.metrics import EvaluationMetrics


def check_precision(optimizers: Sequence[Optimizer]) -> None:
    """Require an ``eps`` above 0 in the type of the weights, else a step divides 0 by 0.

    Adam's 1e-8 is 0 in float16, which is a ``ValueError``.
    """
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            eps = group.get("eps")
            kinds = {p.dtype for p in group["params"] if p.is_floating_point()}
            for kind in kinds if isinstance(eps, float) and eps > 0 else ():
                if not torch.tensor(eps, dtype=kind):
                    raise ValueError(
                        f"eps of {type(optimizer).__name__}, {eps}, is 0 in {kind}, so weights "
                        'become NaN: use precision="16-mixed" or "bf16-true", or a larger eps'
                    )


def check_state(optimizers: Sequence[Optimizer]) -> None:
    """Require settings of each optimizer's own kind, else its first step fails.

    A resumed run restores them from its checkpoint, which may be that of another optimizer.
    """
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            missing = sorted(map(str, optimizer.defaults.keys() - group.keys()))
            if missing:
                raise ValueError(
                    f"the checkpoint has the state of another optimizer than "
                    f"{type(optimizer).__name__}, without {first_of(missing)}: pass the module the "
                    "same optimizer=..., or load_from_checkpoint and start a new run"
                )


def check_monitors(trainer: Any) -> None:
    """Require validation, and the right mode, if a callback or a schedule monitors a value."""
    best = _modes(trainer.lightning_module)
    for user, monitor, mode in monitors_of(trainer):
        if monitor.startswith("val/") and not trainer.enable_validation:
            raise ValueError(
                f"{user} monitors {monitor}, but there are no validation samples: hold "
                "some out, as by val_size=100, or omit the monitor"
            )
        right = best.get(monitor, mode)
        if mode in ("min", "max") and mode != right:
            raise ValueError(
                f"{user} monitors {monitor}, whose {right}imum is best, with "
                f'mode="{mode}": write mode="{right}"'
            )


def monitors_of(trainer: Any) -> list[tuple[str, str, Any]]:
    """The callbacks and schedules that monitor a value, by class name, its name, and the mode."""
    schedules = [(each.scheduler, each.monitor) for each in trainer.lr_scheduler_configs]
    callbacks = [(each, getattr(each, "monitor", None)) for each in trainer.callbacks]
    return [
        (type(user).__name__, str(monitor), getattr(user, "mode", None))
        for user, monitor in callbacks + schedules
        if monitor is not None
    ]


def _modes(module: nn.Module) -> dict[str, str]:
    """Whether a value of training or validation is best at its ``"max"`` or ``"min"``."""
    known = {"train/loss": "min", "train/ce": "min"}
    for each in module.modules():
        known |= each.modes if isinstance(each, EvaluationMetrics) else {}
    return known | {f"val/{each.name}": "max" for each in getattr(module, "validators", ())}


def warn_of_untrained(module: nn.Module, optimizer: Optimizer) -> None:
    """Warn if parameters that could be trained are in no group of the optimizer."""
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    named = module.named_parameters()
    left = [name for name, p in named if p.requires_grad and id(p) not in trained]
    if left:
        _warn(
            f"the optimizer does not train {first_of(left)}: give it the parameters that it is "
            "called with, as in optimizer=lambda parameters: torch.optim.AdamW(parameters)"
        )


def warn_of_late_average(trainer: Any) -> None:
    """Warn if Lightning's averaged weights are validated before their average begins.

    Until then they are the initial weights, and so are the metrics that callbacks monitor.
    """
    for callback in trainer.callbacks:
        if isinstance(callback, WeightAveraging) and trainer.enable_validation:
            late = [getattr(callback, f"update_starting_at_{unit}", None) for unit in _UNITS]
            told = [f"{unit} {n}" for unit, n in zip(_UNITS, late, strict=True) if n and n > 0]
            if told:
                _warn(
                    f"validation uses the initial weights until {' or '.join(told)}, where "
                    f"{type(callback).__name__} begins: start it at 0, or validate later"
                )


def warn_of_other_methods(before: list[str] | None, now: list[str]) -> None:
    """Warn if a run goes on with other methods than those named in its checkpoint, if any."""
    if before not in (None, now):
        _warn(
            f"the checkpoint was trained with the methods {before}, and this run has {now}: "
            "checkpoints do not contain methods, pass them to load_from_checkpoint"
        )


def warn_of_missing_classes(labels: Indices | None, num_classes: int | None) -> None:
    """Warn if known labels ``(N,)`` are not of ``num_classes`` classes."""
    found = num_classes if labels is None else len(set(labels.tolist()))
    if found != num_classes:
        _warn(
            f"num_classes is {num_classes}, but the labeled data has samples of only {found} "
            "classes: classes without samples distort the CM loss"
        )


def warn_of_non_finite_loss(loss: float) -> None:
    """Warn if a run has ended without a finite loss."""
    if not math.isfinite(loss):
        _warn(
            f"the loss of the last step is {loss}, and the weights are of no use: "
            "supercm_pl.callbacks.NonFiniteLoss stops a run at the first such step"
        )


def _warn(message: str) -> None:
    rank_zero_warn(message, category=RuntimeWarning)


_UNITS = ("step", "epoch")
