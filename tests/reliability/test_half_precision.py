"""Overflow in float16 with a gradient scaler: its step is left out, and nothing stays spoiled."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from supercm_pl import SSLModule
from supercm_pl.clustering import CentroidMode

LABELS = torch.arange(6) % 3
STEPS, SPOILED = 4, 1
MODES: tuple[CentroidMode, ...] = ("cumulative", "ema", "batch", "learnable")


def batch(step: int) -> tuple[Tensor, Tensor]:
    """Labeled and unlabeled rows."""
    generator = torch.Generator().manual_seed(step)
    return torch.rand(6, 4, generator=generator), torch.rand(8, 4, generator=generator)


def model(centroids: CentroidMode = "cumulative") -> SSLModule:
    torch.manual_seed(0)
    backbone = nn.Linear(4, 8)
    nn.init.uniform_(backbone.weight, 0.5, 1.0)  # so that large inputs give large features
    return SSLModule(backbone, 3, centroids=centroids, alpha=1.2)


def train(
    module: SSLModule,
    scaler: torch.amp.GradScaler,  # type: ignore[name-defined]
    optimizer: torch.optim.Optimizer,
    labeled: Tensor,
    unlabeled: Tensor,
) -> Tensor:
    """One step in mixed precision as PyTorch's documentation shows it."""
    with torch.autocast("cpu", torch.float16):
        loss = module.training_step({"labeled": (labeled, LABELS), "unlabeled": unlabeled})
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    return loss.detach()


@pytest.mark.parametrize("centroids", MODES)
def test_features_that_overflow_spoil_neither_weights_nor_centroids(
    centroids: CentroidMode,
) -> None:
    module = model(centroids)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)  # type: ignore[attr-defined]
    losses = []
    for step in range(STEPS):
        labeled, unlabeled = batch(step)
        if step == SPOILED:
            labeled[0] = 6e4  # the first of class 0: its features are infinite in float16
        before = [p.detach().clone() for p in module.parameters()]
        losses.append(train(module, scaler, optimizer, labeled, unlabeled))
        same = all(map(torch.equal, before, module.parameters()))
        assert same == (step == SPOILED)
    assert [bool(loss.isfinite()) for loss in losses] == [step != SPOILED for step in range(STEPS)]
    assert scaler.get_scale() == 4.0
    assert all(value.isfinite().all() for value in module.state_dict().values())
    updates = STEPS if centroids == "learnable" else STEPS - 1
    assert module.head.centroid_updates.tolist() == [updates, STEPS, STEPS]


def test_gradients_that_overflow_are_left_out_until_the_scale_fits() -> None:
    module = model()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler(  # type: ignore[attr-defined]
        "cpu", init_scale=2.0**40, backoff_factor=2.0**-8
    )
    start = [p.detach().clone() for p in module.parameters()]
    losses = [train(module, scaler, optimizer, *batch(0))]
    assert all(map(torch.equal, start, module.parameters()))
    losses += [train(module, scaler, optimizer, *batch(step)) for step in range(1, 8)]
    assert all(bool(loss.isfinite()) for loss in losses)
    assert scaler.get_scale() < 2.0**40
    assert not any(map(torch.equal, start, module.parameters()))
    assert all(value.isfinite().all() for value in module.state_dict().values())
