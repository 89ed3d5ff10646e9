"""The trainer of the tests, and its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint


def quiet_trainer(**options: Any) -> L.Trainer:
    """A trainer on the CPU that prints nothing and saves only what a callback given saves."""
    saves = any(isinstance(callback, Checkpoint) for callback in options.get("callbacks", ()))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return L.Trainer(**{"accelerator": "cpu", **quiet, "enable_checkpointing": saves, **options})


def every_step(folder: Path) -> ModelCheckpoint:
    """A checkpoint of each step, ``step=1.ckpt`` and so on."""
    return ModelCheckpoint(
        folder, "step={step}", auto_insert_metric_name=False, every_n_train_steps=1, save_top_k=-1
    )
