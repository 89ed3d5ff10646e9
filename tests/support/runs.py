"""Short real runs of every method on digits."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from supercm_pl import SSLDataModule, SSLModule, UDADataModule, UDAModule
from supercm_pl.backbones import MLP
from supercm_pl.data import AffineNoise
from supercm_pl.training.method import Method
from tests.support.methods import SSL_METHODS, UDA_METHODS
from tests.support.trainers import quiet_trainer

STEPS_PER_EPOCH = 4


class Run(L.Callback):
    """What can be compared of a run: losses of each step, and the state at the end."""

    def __init__(self) -> None:
        self.losses: dict[int, dict[str, float]] = {}
        self.state: dict[str, Any] = {}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        step = trainer.fit_loop.total_batch_idx
        self.losses[step] = {name: v.item() for name, v in pl_module.step_values.items()}

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.state = {
            "module": copy.deepcopy(dict(pl_module.state_dict())),
            "optimizer": trainer.optimizers[0].state_dict(),
            "callbacks": {
                type(callback).__name__: callback.state_dict()
                for callback in trainer.callbacks
                if not isinstance(callback, ModelCheckpoint)
            },
        }


def module(name: str, **options: Any) -> SSLModule | UDAModule:
    """A small network with dropout and batch norm with a method."""
    torch.manual_seed(0)
    options = {"optimizer": lambda p: torch.optim.Adam(p, lr=0.01), "cm_weight": 0.3, **options}
    if name in SSL_METHODS:
        backbone = nn.Sequential(MLP(64, (24,)), nn.Dropout(0.2))
        return SSLModule(backbone, 10, SSL_METHODS[name](), feature_size=24, **options)
    backbone = nn.Sequential(nn.AvgPool2d(2), MLP(192, (24,)), nn.Dropout(0.2))
    return UDAModule(backbone, 10, UDA_METHODS[name](), feature_size=24, **options)


def data(name: str, **options: Any) -> SSLDataModule | UDADataModule:
    """Digits, with everything random that can be."""
    strong = AffineNoise(rotation=0.4, shift=0.15, scale=0.25, noise=0.2)
    shared = {"steps_per_epoch": STEPS_PER_EPOCH, "weak": AffineNoise(), "strong": strong}
    if name in SSL_METHODS:
        ssl = {"labels_per_class": 2, "labeled_batch_size": 10, "unlabeled_batch_size": 20}
        return SSLDataModule(**{**shared, **ssl, "seed": 0, **options})
    return UDADataModule(
        **{**shared, "source_batch_size": 20, "target_batch_size": 20, "seed": 0, **options}
    )


def digits_module(methods: Method | Sequence[Method], **options: Any) -> SSLModule:
    """A small network with batch norm, always of the same weights, and SuperCM."""
    torch.manual_seed(0)
    return SSLModule(MLP(64, (32,)), 10, methods, **{"cm_weight": 0.5, **options})


def fit(
    model: L.LightningModule,
    datamodule: L.LightningDataModule,
    *callbacks: L.Callback,
    ckpt_path: Path | None = None,
    **options: Any,
) -> Run:
    """Train for six steps, or as told."""
    run = Run()
    trainer = quiet_trainer(
        callbacks=[run, *callbacks],
        **{
            "max_steps": 6,
            "limit_val_batches": 0,
            "enable_checkpointing": any(isinstance(c, ModelCheckpoint) for c in callbacks),
            **options,
        },
    )
    trainer.fit(model, datamodule, ckpt_path=ckpt_path, weights_only=True)
    return run


def equal(one: Any, other: Any) -> bool:
    """Whether two nested states are the same bit for bit."""
    if isinstance(one, Tensor):
        same_kind = isinstance(other, Tensor) and one.dtype == other.dtype
        return same_kind and one.shape == other.shape and bool((one == other).all())
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(v, other[k]) for k, v in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)
