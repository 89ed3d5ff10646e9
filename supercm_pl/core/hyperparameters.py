"""Hyperparameters in a checkpoint that `weights_only=True` can load."""

from __future__ import annotations

from collections.abc import Mapping
from types import FrameType
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.core.mixins import hparams_mixin
from lightning.pytorch.utilities.parsing import collect_init_args


def save_hyperparameters(module: L.LightningModule, frame: FrameType | None) -> None:
    """Save the arguments of ``module``'s constructor as Lightning's own method does.

    Args:
        module: Under construction.
        frame: That of the base class's constructor.
    """
    if frame is None or hparams_mixin._given_hyperparameters.get() is not None:
        # From a configuration Lightning has class paths and plain values: they rebuild all.
        module.save_hyperparameters()
        return
    # From Python there are live objects, which a file loaded with `weights_only=True` can't
    # hold. They are left out and given again: `load_from_checkpoint(path, backbone=...)`.
    # The last of the constructors' arguments are those of the class that will be rebuilt.
    arguments = collect_init_args(frame, [], classes=(L.LightningModule,))[-1]
    module.save_hyperparameters({k: v for k, v in arguments.items() if _is_plain(v)})


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_plain(item) for pair in value.items() for item in pair)
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str)
