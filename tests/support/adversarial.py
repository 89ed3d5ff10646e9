"""What the tests of adversarial adapters share: steps by hand, and runs on shifted blobs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import lightning.pytorch as L
import torch
from torch import Tensor, nn

from supercm_pl import ClusteringHead, UDAModule
from supercm_pl.backbones import MLP
from supercm_pl.training.step import Outputs
from supercm_pl.uda.methods import Method, UDAStep

A = TypeVar("A", bound=Method)

SOURCE, LABELED_TARGET, TARGET = 5, 2, 7
"""Rows of a step: batches of different sizes, so that no mean is right by accident."""


@dataclass
class Case:
    """A step whose rows come from features that are leaves, and the head that made the logits."""

    step: UDAStep
    head: ClusteringHead
    features: Tensor

    @property
    def source(self) -> Tensor:
        return self.features[:SOURCE]

    @property
    def target(self) -> Tensor:
        return self.features[-TARGET:]

    def at(self, progress: float) -> UDAStep:
        return replace(self.step, progress=progress)


def case(*, size: int = 4, classes: int = 3, progress: float = 0.3, sureness: float = 1.0) -> Case:
    """A semi-supervised step: source, labeled target and target rows, out of one forward pass.

    The logits are those of the first head times ``sureness``.
    """
    generator = torch.Generator().manual_seed(0)
    count = SOURCE + LABELED_TARGET + TARGET
    torch.manual_seed(0)
    head = ClusteringHead(size, classes)
    with torch.no_grad():
        for parameter in head.classifier.parameters():
            parameter.mul_(sureness)
    features = torch.randn(count, size, generator=generator).requires_grad_()
    joined = Outputs(features, features, *head(features))
    split = [torch.split(part, [SOURCE + LABELED_TARGET, TARGET]) for part in joined]
    labeled, unlabeled = (Outputs(*part) for part in zip(*split, strict=True))
    step = UDAStep(
        labels=torch.randint(0, classes, (SOURCE + LABELED_TARGET,), generator=generator),
        labeled={"weak": labeled},
        unlabeled={"weak": unlabeled},
        labeled_inputs={"weak": labeled.inputs.detach()},
        unlabeled_inputs={"weak": unlabeled.inputs.detach()},
        progress=progress,
        extra_forward=lambda inputs: Outputs(inputs, inputs, *head(inputs)),
        forward_frozen_bn=lambda inputs: Outputs(inputs, inputs, *head(inputs)),
        num_source=SOURCE,
    )
    return Case(step, head, features)


def attach(adapter: A, given: Case) -> A:
    adapter.build(nn.Identity(), given.head)
    return adapter


def gradients(loss: Tensor, *wanted: Tensor | nn.Module) -> list[Tensor]:
    """Of each tensor, and of each module's parameters in one vector; 0 where there is none."""
    found = []
    for item in wanted:
        tensors = [item] if isinstance(item, Tensor) else list(item.parameters())
        values = torch.autograd.grad(loss, tensors, retain_graph=True, allow_unused=True)
        pairs = zip(values, tensors, strict=True)
        found.append(
            torch.cat([(torch.zeros_like(t) if v is None else v).ravel() for v, t in pairs])
        )
    return found


class Shifted:
    """Paired batches of three classes whose target is shifted, as a data module yields them."""

    def __init__(self, steps: int = 8, rows: int = 12) -> None:
        generator = torch.Generator().manual_seed(0)
        means = 4 * torch.randn(3, 4, generator=generator)
        self.batches = []
        for _ in range(steps):
            labels = torch.randint(0, 3, (2, rows), generator=generator)
            source, target = means[labels] + torch.randn(2, rows, 4, generator=generator)
            self.batches.append({"source": (source, labels[0]), "target": target + 1.5})

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


class Logs(L.Callback):
    """Keeps what each step has to log, and the checkpoint of one epoch's end."""

    def __init__(self, save: Path | None = None) -> None:
        self.steps: list[dict[str, float]] = []
        self.save = save

    def on_train_batch_end(self, trainer: L.Trainer, module: UDAModule, *args: object) -> None:
        self.steps.append({f"train/{k}": v.item() for k, v in module.step_values.items()})

    def on_train_epoch_end(self, trainer: L.Trainer, *args: object) -> None:
        if self.save is not None and trainer.current_epoch == 0:
            trainer.save_checkpoint(self.save)


def build(methods: Method | list[Method], **options) -> UDAModule:
    torch.manual_seed(0)
    return UDAModule(MLP(4, (8,)), 3, methods, **options)


def fit(
    module: UDAModule,
    steps: int = 8,
    *,
    save: Path | None = None,
    resume: Path | None = None,
    **options,
) -> Logs:
    """Train on the shifted blobs, for one epoch unless told otherwise.

    Args:
        module: What to train.
        steps: Of an epoch.
        save: Where to keep the checkpoint of the first epoch's end.
        resume: Checkpoint to go on from.
        **options: Of the trainer.
    """
    logs = Logs(save)
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[logs],
        **{"max_epochs": 1, **options},
    )
    trainer.fit(module, Shifted(steps), ckpt_path=resume, weights_only=True)
    return logs
