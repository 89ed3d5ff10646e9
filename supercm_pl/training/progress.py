"""Progress of a run, on which ramps and learning rates depend."""

from __future__ import annotations

import math

import lightning.pytorch as L
from lightning.pytorch.callbacks import GradientAccumulationScheduler, Timer


def progress_by_steps(trainer: L.Trainer) -> float:
    """Fraction of the run's optimizer steps already taken; NaN if their number has no limit."""
    total = number_of_steps(trainer)
    return min(trainer.global_step / total, 1.0) if total < math.inf else math.nan


def number_of_steps(trainer: L.Trainer) -> float:
    """Optimizer steps of the run; infinity if only time, or nothing, limits them."""
    estimated = float(trainer.estimated_stepping_batches)
    if estimated < 0:  # of data without a length, Lightning returns the default of max_steps
        return math.inf
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, GradientAccumulationScheduler) and trainer.max_epochs != -1:
            # Lightning counts as if the present accumulation had been in force in all epochs.
            batches, epochs = trainer.num_training_batches, range(trainer.max_epochs or 1)
            used = [max(s for s in callback.scheduling if s <= epoch) for epoch in epochs]
            total = sum(math.ceil(batches / callback.scheduling[start]) for start in used)
            return min(total, trainer.max_steps) if trainer.max_steps != -1 else total
    return estimated


def progress_by_time(trainer: L.Trainer) -> float:
    """Fraction of the trainer's ``max_time`` that has passed; NaN without a limit of time."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        left = callback.time_remaining() if isinstance(callback, Timer) else None
        if left is not None:
            passed = callback.time_elapsed()
            share = min(passed / max(passed + left, 1e-9), 1.0)
            # The ranks' clocks differ, and with them their weights would.
            return float(trainer.strategy.broadcast(share)) if trainer.world_size > 1 else share
    return math.nan
