"""A short run of the trainer, by one process or by ranks that share its batches."""

from __future__ import annotations

import datetime
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any, get_args

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch import Tensor, nn

from supercm_pl import SSLDataModule, SSLModule
from supercm_pl.clustering import CentroidMode

STEPS = 8
LOST_AT = 5
"""The step at which a rank is lost, after the checkpoint of step 4."""


class LoseRank(L.Callback):
    """Sends the last rank a signal, at the start of a step."""

    def __init__(self, number: int) -> None:
        self.number = number

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == LOST_AT and trainer.global_rank == trainer.world_size - 1:
            os.kill(os.getpid(), self.number)


class ShardedModule(SSLModule):
    """Its parameters are shared out to the ranks (FSDP), as a user would do it."""

    def configure_model(self) -> None:
        from torch.distributed.fsdp import fully_shard

        mesh = self.device_mesh["data_parallel"]
        fully_shard(self.backbone, mesh=mesh)
        # Whole until backward, as the loss uses learnable centroids after the forward pass.
        fully_shard(self.head, mesh=mesh, reshard_after_forward=False)


def fit(
    folder: Path,
    checkpoint: Path | None = None,
    *,
    world_size: int = 1,
    timeout: float = 60.0,
    lost: signal.Signals | None = None,
    centroids: CentroidMode = "cumulative",
    sharded: bool = False,
) -> dict[str, Tensor]:
    """Train in steps of 16 labeled and 32 unlabeled samples over all ranks; the final state."""
    torch.manual_seed(0)
    module = (ShardedModule if sharded else SSLModule)(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh()),
        num_classes=10,
        feature_size=16,
        centroids=centroids,
        optimizer=partial(torch.optim.SGD, lr=0.1),
    )
    data = SSLDataModule(
        labels_per_class=2,
        labeled_batch_size=16 // world_size,
        unlabeled_batch_size=32 // world_size,
        steps_per_epoch=STEPS,
        seed=0,
    )
    options: dict[str, Any] = {
        "process_group_backend": "gloo",
        "timeout": datetime.timedelta(seconds=timeout),
    }
    strategy: Any = "auto"
    if sharded:
        strategy = ModelParallelStrategy(world_size, 1, **options)
    elif world_size > 1:
        strategy = DDPStrategy(**options)
    save = ModelCheckpoint(folder, "{step}", every_n_train_steps=2, save_top_k=-1, save_last=True)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=world_size,
        strategy=strategy,
        max_steps=STEPS,
        limit_val_batches=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=not sharded,
        callbacks=[
            *([] if sharded else [save]),
            *([] if lost is None else [LoseRank(lost)]),
        ],
    )
    trainer.fit(module, data, ckpt_path=None if checkpoint is None else str(checkpoint))
    assert trainer.global_step == STEPS
    return {
        name: value.full_tensor() if hasattr(value, "full_tensor") else value
        for name, value in module.state_dict().items()
    }


def fit_as_rank(
    rank: int,
    folder: str,
    checkpoint: str | None,
    world_size: int,
    port: int,
    timeout: float,
    lost: signal.Signals | None,
) -> None:
    """Be one of the ranks; leaves the final state, or the error, in `folder`."""
    _join(rank, port)
    path = None if checkpoint is None else Path(checkpoint)
    try:
        state = fit(Path(folder), path, world_size=world_size, timeout=timeout, lost=lost)
    except RuntimeError as error:  # what a failed collective raises
        Path(folder, f"error-{rank}.txt").write_text(str(error))
        raise
    torch.save(state, Path(folder, f"state-{rank}.pt"))


def fit_sharded_as_rank(rank: int, folder: str, port: int) -> None:
    """Be one of two ranks that share the parameters; leaves the final states in `folder`."""
    _join(rank, port)
    states = {
        mode: fit(Path(folder), world_size=2, centroids=mode, sharded=True)
        for mode in get_args(CentroidMode)
    }
    torch.save(states, Path(folder, f"state-{rank}.pt"))


def _join(rank: int, port: int) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank)}
