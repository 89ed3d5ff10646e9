"""Checkpoint of a run that a scheduler or an operator ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as L
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from supercm_pl._lightning import cluster_environment

INTERRUPTED = "interrupted.ckpt"


class SaveOnSignal(L.Callback):
    """Saves a checkpoint between two steps on SIGTERM.

    Lightning then ends training after the current step, and this callback saves
    ``interrupted.ckpt`` beside the other checkpoints. A resumed run continues bit for bit. The
    callback has no effect if checkpoints are disabled.

    Under SLURM with requeueing, Lightning's signal handler saves in the middle of a step, where
    weights, running statistics and counters are inconsistent. The callback defers it to the end of
    the step.

    Attributes:
        last_model_path: Path of the saved checkpoint; empty if none.
    """

    def __init__(self) -> None:
        self.last_model_path = ""
        self._pending: list[Callable[[], None]] = []

    def on_train_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Defer Lightning's handler of the requeue signal."""
        environment = cluster_environment(trainer)
        in_main = threading.current_thread() is threading.main_thread()
        if not (isinstance(environment, SLURMEnvironment) and environment.auto_requeue and in_main):
            return
        number = environment.requeue_signal
        handler = None if number is None else signal.getsignal(number)
        if number is None or not callable(handler):
            return

        def defer(received: int, frame: FrameType | None) -> None:
            self._pending.append(lambda: handler(received, frame))

        signal.signal(number, defer)  # Lightning restores the original handlers after the run

    def on_train_batch_end(self, *_: Any) -> None:
        """Call the deferred handlers."""
        pending, self._pending = self._pending, []
        for handle in pending:
            handle()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Save a checkpoint if SIGTERM ended training between two steps."""
        saver = trainer.checkpoint_callback
        between_steps = trainer.training and trainer.global_step > 0
        if not isinstance(exception, SIGTERMException) or saver is None or not between_steps:
            return
        folder = getattr(saver, "dirpath", None) if isinstance(saver, ModelCheckpoint) else None
        path = Path(folder or trainer.default_root_dir) / INTERRUPTED
        trainer.save_checkpoint(path)
        self.last_model_path = str(path)
