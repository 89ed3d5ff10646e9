"""Two small domains, steps of them, and a short real fit, for the tests of adaptation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import lightning.pytorch as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from supercm_pl import ClusteringHead, UDAModule
from supercm_pl.backbones import MLP
from supercm_pl.training.method import Method
from supercm_pl.training.step import Outputs
from supercm_pl.uda.methods import UDAStep
from tests.support.trainers import quiet_trainer

M = TypeVar("M", bound=Method)

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
SOURCE, LABELED_TARGET, TARGET = 5, 2, 7
"""Samples of a step: batches of different sizes, so that no mean is right by accident."""


def outputs(features: Tensor, logits: Tensor) -> Outputs:
    return Outputs(features, features, logits, logits.float().softmax(dim=1))


def step_of(labeled: Outputs, unlabeled: Outputs, **known: Any) -> UDAStep:
    return UDAStep(
        **{
            "labels": torch.zeros(len(labeled.features), dtype=torch.long),
            "labeled": {"weak": labeled},
            "unlabeled": {"weak": unlabeled},
            "labeled_inputs": {"weak": labeled.inputs.detach()},
            "unlabeled_inputs": {"weak": unlabeled.inputs.detach()},
            "progress": 0.0,
            "extra_forward": lambda inputs: outputs(inputs, inputs),
            "forward_frozen_bn": lambda inputs: outputs(inputs, inputs),
            "num_source": len(labeled.features),
            **known,
        }
    )


def random_step(num_source: int = 5, num_target: int = 7) -> UDAStep:
    generator = torch.Generator().manual_seed(0)

    def draw(count: int) -> Outputs:
        features = torch.randn(count, 4, generator=generator)
        return outputs(features, 2 * torch.randn(count, 3, generator=generator))

    return step_of(draw(num_source), draw(num_target))


@dataclass
class Case:
    """A step whose features are leaves, and the head that made the logits."""

    head: ClusteringHead
    features: Tensor
    labels: Tensor

    def at(self, progress: float) -> UDAStep:
        return replace(self.step, progress=progress)

    @property
    def step(self) -> UDAStep:
        return self.step_of(self.features, self.labels)

    def step_of(self, features: Tensor, labels: Tensor) -> UDAStep:
        """A step of source, labeled target and target samples, out of one forward pass."""
        joined = Outputs(features, features, *self.head(features))
        split = [torch.split(part, [SOURCE + LABELED_TARGET, TARGET]) for part in joined]
        return step_of(
            *(Outputs(*part) for part in zip(*split, strict=True)),
            labels=labels,
            progress=0.3,
            extra_forward=lambda inputs: Outputs(inputs, inputs, *self.head(inputs)),
            num_source=SOURCE,
        )

    @property
    def source(self) -> Tensor:
        return self.features[:SOURCE]

    @property
    def target(self) -> Tensor:
        return self.features[-TARGET:]


def case(*, size: int = 4, classes: int = 3, sureness: float = 1.0) -> Case:
    """The logits are those of the first head times ``sureness``."""
    generator = torch.Generator().manual_seed(0)
    count = SOURCE + LABELED_TARGET + TARGET
    torch.manual_seed(0)
    head = ClusteringHead(size, classes)
    with torch.no_grad():
        for parameter in head.classifier.parameters():
            parameter.mul_(sureness)
    features = torch.randn(count, size, generator=generator).requires_grad_()
    labels = torch.randint(0, classes, (SOURCE + LABELED_TARGET,), generator=generator)
    return Case(head, features, labels)


def built(method: M, given: Case) -> M:
    method.build(nn.Identity(), given.head)
    return method


def gradients(loss: Tensor, *of: Tensor | nn.Module) -> list[Tensor]:
    """Of each tensor, and of each module's parameters in one vector; 0 where there is none."""
    found = []
    for item in of:
        tensors = [item] if isinstance(item, Tensor) else list(item.parameters())
        values = torch.autograd.grad(loss, tensors, retain_graph=True, allow_unused=True)
        pairs = zip(values, tensors, strict=True)
        found.append(
            torch.cat([(torch.zeros_like(t) if v is None else v).ravel() for v, t in pairs])
        )
    return found


def reversal(progress: float) -> float:
    """λ of the default ramp."""
    return 2.0 / (1.0 + math.exp(-10.0 * progress)) - 1.0


def assert_reversed(
    method: Method, given: Case, progress: float, loss: Tensor, *whole: nn.Module, most: float = 1.0
) -> None:
    """Features get the gradient of ``loss``, which has no reversal, times −λ; modules all of it."""
    plain = gradients(loss, given.features, *whole)
    found = gradients(method(given.at(progress)).loss, given.features, *whole)
    expected = [-most * reversal(progress) * plain[0], *plain[1:]]
    torch.testing.assert_close(found, expected)
    assert all(gradient.abs().max() > 0 for gradient in plain)


class Domains:
    """Paired batches of three classes whose target is shifted, as a data module yields them."""

    def __init__(self, steps: int = 8) -> None:
        generator = torch.Generator().manual_seed(0)
        means = 4 * torch.randn(3, 4, generator=generator)

        def draw(count: int, shift: float) -> tuple[Tensor, Tensor]:
            labels = torch.randint(0, 3, (count,), generator=generator)
            return means[labels] + torch.randn(count, 4, generator=generator) + shift, labels

        self.batches = [{"source": draw(6, 0.0), "target": draw(10, 1.0)[0]} for _ in range(steps)]
        self.labeled_target = draw(3, 1.0)
        self.source, self.target = draw(60, 0.0), draw(60, 1.0)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)

    def validation(self) -> list[DataLoader]:
        return [DataLoader([part], batch_size=None) for part in (self.source, self.target[0])]


class Plain(nn.Sequential):
    """A backbone without batch norm: no sample changes another's features."""

    out_features = 8

    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 8), nn.ReLU())


def module_of(methods: Method | list[Method], **options: Any) -> UDAModule:
    torch.manual_seed(0)
    return UDAModule(MLP(4, (8,)), 3, methods, **options)


class Logs(L.Callback):
    """Keeps what each step has to log, and the checkpoint of the first epoch's end."""

    def __init__(self, save: Path | None = None) -> None:
        self.steps: list[dict[str, float]] = []
        self.save = save

    def on_train_batch_end(self, trainer: L.Trainer, module: UDAModule, *args: object) -> None:
        self.steps.append({f"train/{k}": v.item() for k, v in module.step_values.items()})

    def on_train_epoch_end(self, trainer: L.Trainer, *args: object) -> None:
        if self.save is not None and trainer.current_epoch == 0:
            trainer.save_checkpoint(self.save)


def fit(
    module: UDAModule,
    steps: int = 8,
    *,
    save: Path | None = None,
    resume: Path | None = None,
    **options: Any,
) -> list[dict[str, float]]:
    """Train on the two domains in epochs of ``steps`` steps; the values of each step.

    The checkpoint of the first epoch's end goes to ``save``; ``resume`` is one to go on from.
    """
    logs = Logs(save)
    trainer = quiet_trainer(callbacks=[logs], **{"max_epochs": 1, **options})
    trainer.fit(module, Domains(steps), ckpt_path=resume, weights_only=True)
    return logs.steps
