"""Leaving a run well when a scheduler or an operator ends it."""

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
    """Saves between two steps when the process is asked to end.

    On SIGTERM, Lightning ends training after the running step; this saves ``interrupted.ckpt``
    beside the other checkpoints, from which the run goes on bit for bit. It does nothing where
    checkpoints are turned off.

    Under SLURM with requeueing, Lightning saves from within the signal's handler, at any point of a
    step, where weights, running statistics and counters do not belong together. This puts it off to
    the end of the step.

    Attributes:
        last_model_path: The file that was saved; empty if none.
    """

    def __init__(self) -> None:
        self.last_model_path = ""
        self._pending: list[Callable[[], None]] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put off what Lightning does at the signal to requeue."""
        environment = cluster_environment(trainer)
        in_main = threading.current_thread() is threading.main_thread()
        if not (isinstance(environment, SLURMEnvironment) and environment.auto_requeue and in_main):
            return
        number = environment.requeue_signal
        handler = None if number is None else signal.getsignal(number)
        if number is None or not callable(handler):
            return

        def put_off(received: int, frame: FrameType | None) -> None:
            self._pending.append(lambda: handler(received, frame))

        signal.signal(number, put_off)  # Lightning brings back those from before the run

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Do what was put off."""
        pending, self._pending = self._pending, []
        for act in pending:
            act()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Save where Lightning has ended the run for a SIGTERM."""
        saver = trainer.checkpoint_callback
        between_steps = trainer.training and trainer.global_step > 0
        if not isinstance(exception, SIGTERMException) or saver is None or not between_steps:
            return
        folder = getattr(saver, "dirpath", None) if isinstance(saver, ModelCheckpoint) else None
        path = Path(folder or trainer.default_root_dir) / INTERRUPTED
        trainer.save_checkpoint(path)
        self.last_model_path = str(path)
