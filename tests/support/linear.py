"""A linear model that writes down its batches, and runs of it that can be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from tests.support.trainers import quiet_trainer


class Linear(L.LightningModule):
    def __init__(self, features: int = 64, fail_at: int | None = None) -> None:
        super().__init__()
        self.layer = nn.Linear(features, 10)
        self.fail_at = fail_at
        self.seen: dict[int, list[Any]] = {}
        self.validated: list[Any] = []

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        names = ("source", "target") if "source" in batch else ("labeled", "unlabeled")
        (x, y, *_), u = (batch[name] for name in names)
        step = self.trainer.fit_loop.total_batch_idx
        parts = tree_leaves({name: part for name, part in batch.items() if name != "position"})
        self.seen[step] = [
            part.double().sum().item() if part.is_floating_point() else part.tolist()
            for part in parts
        ]
        if step == self.fail_at:
            raise RuntimeError("power cut")
        logits = self.layer(u.flatten(1))
        return nn.functional.cross_entropy(self.layer(x.flatten(1)), y) + logits.square().mean()

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        kinds = [str(part.dtype) for part in batch] if isinstance(batch, tuple) else "inputs"
        self.validated.append((dataloader_idx, kinds))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        self.log("test", nn.functional.cross_entropy(self.layer(x.flatten(1)), y))

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch["inputs"].flatten(1)), batch["ids"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def trainer(folder: Path, **options: Any) -> L.Trainer:
    shared = {"devices": 1, "max_epochs": 3, "num_sanity_val_steps": 0}
    return quiet_trainer(default_root_dir=folder, **{**shared, **options})


def same_weights(one: nn.Module, two: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def assert_resumed(rest: Linear, full: Linear, steps: range) -> None:
    """The run took these steps, on the batches of the full run, and ends with its weights."""
    assert sorted(rest.seen) == list(steps)
    assert {**rest.seen, **full.seen} == full.seen == {**full.seen, **rest.seen}
    assert same_weights(rest, full)
