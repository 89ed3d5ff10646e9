"""The trainer of the tests."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Checkpoint


def quiet_trainer(**options: Any) -> L.Trainer:
    """A trainer on the CPU that prints nothing and saves only what a callback given saves."""
    saves = any(isinstance(callback, Checkpoint) for callback in options.get("callbacks", ()))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return L.Trainer(**{"accelerator": "cpu", **quiet, "enable_checkpointing": saves, **options})
