"""Settings of a trainer with which a run would silently go wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.utilities import rank_zero_warn
from torch.optim import Optimizer


def check_precision(optimizers: Sequence[Optimizer]) -> None:
    """Require an ``eps`` that does not vanish in the type of the weights.

    Raises:
        ValueError: If it is 0 there, as the 1e-8 of Adam is in float16: a step then divides 0 by 0.
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


def warn_of_late_average(trainer: Any) -> None:
    """Warn if Lightning's averaged weights are validated before their average begins.

    Until then they are the initial weights, and so are the metrics that callbacks monitor.
    """
    for callback in trainer.callbacks:
        if isinstance(callback, WeightAveraging) and trainer.enable_validation:
            late = [getattr(callback, f"update_starting_at_{unit}", None) for unit in _UNITS]
            told = [f"{unit} {n}" for unit, n in zip(_UNITS, late, strict=True) if n and n > 0]
            if told:
                rank_zero_warn(
                    f"validation uses the initial weights until {' or '.join(told)}, where "
                    f"{type(callback).__name__} begins: start it at 0, or validate later",
                    category=RuntimeWarning,
                )


_UNITS = ("step", "epoch")
