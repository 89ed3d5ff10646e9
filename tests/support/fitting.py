"""A short run of the trainer, by one process or by ranks that share its batches."""

from __future__ import annotations

import datetime
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch import nn

from supercm_pl import SSLDataModule, SSLModule, distributed
from supercm_pl.ssl.methods import AdaMatch, FlexMatch, FreeMatch, SoftMatch
from tests.support.trainers import quiet_trainer

STEPS = 8
LOST_AT = 5
"""The step at which a rank is lost, after the checkpoint of step 4."""

# Thresholds that a network reaches in a few steps.
PSEUDO_LABELS = {
    "FlexMatch": partial(FlexMatch, threshold=0.15),
    "FreeMatch": FreeMatch,
    "SoftMatch": SoftMatch,
    "AdaMatch": partial(AdaMatch, threshold=0.15),
}


class LoseRank(L.Callback):
    """Sends the last rank a signal, at the start of a step."""

    def __init__(self, number: int) -> None:
        self.number = number

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == LOST_AT and trainer.global_rank == trainer.world_size - 1:
            os.kill(os.getpid(), self.number)


class UnevenData(SSLDataModule):
    """Digits of which the last of several ranks gets fewer unlabeled ones, as from a custom loader.

    The strong view differs from the weak one without a draw.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(strong=nn.Hardtanh(0.0, 0.6), **options)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        batch = super().on_after_batch_transfer(batch, dataloader_idx)
        ranks = distributed.world_size()
        if ranks > 1 and distributed.rank() == ranks - 1:
            batch["unlabeled"] = {view: rows[:5] for view, rows in batch["unlabeled"].items()}
        return batch


def fit(
    folder: Path,
    checkpoint: Path | None = None,
    *,
    world_size: int = 1,
    timeout: float = 60.0,
    lost: signal.Signals | None = None,
    kind: type[SSLModule] = SSLModule,
    strategy: Strategy | None = None,
    method: str = "",
    **arguments: Any,
) -> dict[str, Any]:
    """Train in steps of 16 labeled and 32 unlabeled samples over all ranks; the final state.

    With a method of pseudo-labels, the last rank has fewer unlabeled samples.
    """
    torch.manual_seed(0)
    module = kind(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh()),
        num_classes=10,
        feature_size=16,
        optimizer=partial(torch.optim.SGD, lr=0.1),
        **arguments,
        methods=PSEUDO_LABELS[method]() if method else (),
    )
    data = (UnevenData if method else SSLDataModule)(
        labels_per_class=2,
        labeled_batch_size=16 // world_size,
        unlabeled_batch_size=32 // world_size,
        steps_per_epoch=STEPS,
        seed=0,
    )
    if strategy is None and world_size > 1:
        limit = datetime.timedelta(seconds=timeout)
        strategy = DDPStrategy(process_group_backend="gloo", timeout=limit)
    save = ModelCheckpoint(folder, "{step}", every_n_train_steps=2, save_top_k=-1, save_last=True)
    trainer = quiet_trainer(
        devices=world_size,
        strategy="auto" if strategy is None else strategy,
        max_steps=STEPS,
        limit_val_batches=0,
        callbacks=[save, *([] if lost is None else [LoseRank(lost)])],
    )
    trainer.fit(module, data, ckpt_path=None if checkpoint is None else str(checkpoint))
    assert trainer.global_step == STEPS
    return module.state_dict()


def fit_as_rank(
    rank: int,
    folder: str,
    checkpoint: str | None,
    world_size: int,
    port: int,
    timeout: float,
    lost: signal.Signals | None,
    method: str = "",
) -> None:
    """Be one of the ranks; leaves the final state, or the error, in `folder`."""
    join(rank, port)
    path = None if checkpoint is None else Path(checkpoint)
    try:
        state = fit(
            Path(folder), path, world_size=world_size, timeout=timeout, lost=lost, method=method
        )
    except RuntimeError as error:  # what a failed collective raises
        Path(folder, f"error-{rank}.txt").write_text(str(error))
        raise
    torch.save(state, Path(folder, f"state-{rank}.pt"))


def join(rank: int, port: int) -> None:
    """Tell Lightning that this process is one of the ranks."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank)}
