"""A checkpoint of the last step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import ModelCheckpoint


class SaveLastStep(L.Callback):
    """Saves ``last.ckpt`` after the last step of a run, if no other callback saves this step.

    ``ModelCheckpoint(every_n_train_steps=100, save_last=True)`` would leave the weights of step 200
    of a run of 250 steps, and none of a run of 50. Place it after ``ModelCheckpoint``, as
    ``supercm fit`` does.
    """

    def __init__(self) -> None:
        self._saved = -1

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any, **__: Any) -> None:
        """Save, for each ``ModelCheckpoint`` with ``save_last``."""
        if self._saved == trainer.global_step or trainer.received_sigterm or not _is_over(trainer):
            return
        for saver in trainer.checkpoint_callbacks:
            if isinstance(saver, ModelCheckpoint) and saver.save_last and saver.dirpath:
                path = saver.last_model_path or str(Path(saver.dirpath) / "last.ckpt")
                trainer.save_checkpoint(path, saver.save_weights_only)
                saver.last_model_path = path

    def on_save_checkpoint(self, trainer: L.Trainer, *_: Any) -> None:
        """Note which step was saved."""
        self._saved = trainer.global_step


def _is_over(trainer: L.Trainer) -> bool:
    is_last_epoch = trainer.current_epoch + 1 == trainer.max_epochs
    is_last_step = 0 < trainer.max_steps <= trainer.global_step
    return trainer.should_stop or is_last_step or (is_last_epoch and trainer.is_last_batch)
