"""Checkpoint of a run that a scheduler or an operator ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException

from supercm_pl._lightning import StepSignals, is_accumulating, repeat_validation, step_signals
from supercm_pl.distributed import is_distributed

INTERRUPTED = "interrupted.ckpt"


class SaveOnSignal(L.Callback):
    """Saves a checkpoint between two steps on SIGTERM or SIGINT (Ctrl-C), and ends the run.

    A signal to any rank ends all ranks after the same step. They save ``interrupted.ckpt`` beside
    the other checkpoints, unless checkpoints are disabled. A resumed run continues bit for bit, and
    repeats a validation that was interrupted. A validation finishes first with several ranks, and
    after the last step. The process exits with status 143 or 130. A second Ctrl-C ends the run
    without saving.

    Under SLURM with requeueing, the signal to requeue is handled after a step as well: Lightning's
    handler saves in the middle of one.

    In evaluation and before the first step, a signal ends the run at once.

    Attributes:
        last_model_path: Path of the saved checkpoint; empty if none.
    """

    def __init__(self) -> None:
        self.last_model_path = ""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Replace Lightning's handlers, which it registers later."""
        step_signals(trainer)

    def on_train_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Note signals from now on."""
        step_signals(trainer).deferring = True

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Act on the signals that any rank has noted, unless gradients are being accumulated."""
        if is_accumulating(trainer):
            return
        signals = _agreed(trainer)
        if signals.requeue:
            signals.save_and_requeue()
            signals.requeue = False
        if signals.stop and not _is_last_step(trainer):
            signals.stop_training()

    def on_validation_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Leave out a validation that is due after the last step."""
        if trainer.received_sigterm:
            raise SIGTERMException

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Interrupt a validation; ranks may have different numbers of batches."""
        is_resumable = not is_distributed() and not _is_last_step(trainer)
        if step_signals(trainer).stop and is_resumable:
            raise SIGTERMException

    def on_train_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Act on a signal after the last step; from now on, a signal ends the run at once."""
        signals = _agreed(trainer)
        signals.deferring = False
        if signals.stop:
            raise SIGTERMException

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Save a checkpoint if a signal ended training."""
        number = step_signals(trainer).stop
        if not isinstance(exception, SIGTERMException) or not number:
            return
        # Lightning kills all ranks if one fails: rank 0 reports the signal.
        exception.code = 128 + number if trainer.is_global_zero else 0
        saver = trainer.checkpoint_callback
        if saver is None or trainer.state.fn != TrainerFn.FITTING or not trainer.global_step:
            return
        folder = getattr(saver, "dirpath", None) if isinstance(saver, ModelCheckpoint) else None
        path = Path(folder or trainer.default_root_dir) / INTERRUPTED
        trainer.save_checkpoint(path)
        self.last_model_path = str(path)

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Have an interrupted validation repeated."""
        if trainer.validating and step_signals(trainer).stop:
            repeat_validation(checkpoint)


def _is_last_step(trainer: L.Trainer) -> bool:
    # Resumed after `max_steps`, a run does not repeat the last validation.
    return 0 < trainer.max_steps <= trainer.global_step


def _agreed(trainer: L.Trainer) -> StepSignals:
    """Return the signals of all ranks; every rank must call this at the same time."""
    signals = step_signals(trainer)
    if is_distributed():
        noted = torch.tensor([signals.stop, signals.requeue], device=trainer.strategy.root_device)
        torch.distributed.all_reduce(noted, torch.distributed.ReduceOp.MAX)
        signals.stop, signals.requeue = noted.tolist()
    return signals
