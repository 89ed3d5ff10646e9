"""Short real training on digits, for the tests of the regularizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from supercm_pl import SSLDataModule, SSLModule
from supercm_pl.backbones import ConvNet
from supercm_pl.data import AffineNoise
from supercm_pl.ssl.regularizers import Regularizer


def digits_module(
    regularizers: Regularizer | Sequence[Regularizer], cm_weight: float = 0.5, **options: Any
) -> SSLModule:
    """A small convolutional network for digits, always with the same weights."""
    torch.manual_seed(0)
    backbone = ConvNet(1, widths=(8, 16))
    return SSLModule(backbone, 10, regularizers, cm_weight=cm_weight, **options)


def digits_data(steps: int = 3, **options: Any) -> SSLDataModule:
    """Paired batches of ``steps`` steps, weak views with random changes."""
    return SSLDataModule(
        **{
            "labels_per_class": 2,
            "labeled_batch_size": 8,
            "unlabeled_batch_size": 16,
            "steps_per_epoch": steps,
            "weak": AffineNoise(),
            "seed": 0,
            **options,
        }
    )


def fit(module: SSLModule, steps: int = 3, **options: Any) -> L.Trainer:
    """The trainer, after ``steps`` steps on digits."""
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        **{"max_epochs": 1, **options},
    )
    trainer.fit(module, digits_data(steps))
    return trainer


def check_fit(
    regularizers: Regularizer | Sequence[Regularizer], *logged: str, **options: Any
) -> None:
    """Training with and without SuperCM ends with finite parameters, and logs these names."""
    for cm_weight in (0.0, 0.5):
        torch.manual_seed(0)
        module = digits_module(regularizers, cm_weight)
        trainer = fit(module, **options)
        values: Mapping[str, Tensor] = trainer.callback_metrics
        assert {f"train/{name}" for name in logged} <= set(values)
        assert all(value.isfinite() for value in values.values())
        assert all(p.isfinite().all() for p in module.parameters())
        assert ("train/cm" in values) == (cm_weight > 0)
