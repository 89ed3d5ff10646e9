"""A short run on digits, for the tests of the methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as L
import torch

from supercm_pl import SSLDataModule, SSLModule
from supercm_pl.backbones import MLP
from supercm_pl.data import AffineNoise
from supercm_pl.training.method import Method
from tests.support.trainers import quiet_trainer


def digits_module(terms: Method | Sequence[Method], **options: Any) -> SSLModule:
    """A small network with batch norm, always of the same weights, and SuperCM."""
    torch.manual_seed(0)
    return SSLModule(MLP(64, (32,)), 10, terms, **{"cm_weight": 0.5, **options})


def fit_digits(
    module: SSLModule,
    *,
    steps: int = 4,
    epochs: int = 1,
    ckpt_path: str | None = None,
    **options: Any,
) -> L.Trainer:
    """The trainer, after epochs of ``steps`` steps with a weak and a strong view."""
    data = SSLDataModule(
        labels_per_class=2,
        labeled_batch_size=10,
        unlabeled_batch_size=40,
        steps_per_epoch=steps,
        weak=AffineNoise(),
        strong=AffineNoise(rotation=0.4, shift=0.15, scale=0.25, noise=0.2),
        seed=0,
    )
    trainer = quiet_trainer(
        max_epochs=epochs, limit_val_batches=0, **{"enable_checkpointing": False, **options}
    )
    trainer.fit(module, data, ckpt_path=ckpt_path)
    return trainer
