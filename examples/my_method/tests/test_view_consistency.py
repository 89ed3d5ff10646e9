"""The method and the network in two steps of training."""

from __future__ import annotations

import lightning as L
import torch
from my_method import SeparableNet, ShapesDataModule, ViewConsistency

from supercm_pl import SSLModule


def test_it_trains_and_is_logged() -> None:
    """The module runs the passes that the method requests."""
    model = SSLModule(SeparableNet(), 3, methods=[ViewConsistency(weight=0.5)])
    trainer = L.Trainer(max_steps=2, logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.fit(model, ShapesDataModule(steps_per_epoch=2))
    loss = trainer.callback_metrics["train/view_consistency"]
    assert 0 < loss < 1
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_the_backbone_says_how_many_features_it_returns() -> None:
    """``out_features`` is the size of the features."""
    backbone = SeparableNet(in_channels=3, widths=(4, 8))
    assert backbone(torch.rand(2, 3, 16, 16)).shape == (2, backbone.out_features)
