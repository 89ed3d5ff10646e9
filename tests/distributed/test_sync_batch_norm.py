"""Synchronised batch norm in the place of batch norm; alone, it must do the same."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from supercm_pl import SSLModule, UDAModule
from supercm_pl.training.module import SuperCMModule


@pytest.mark.parametrize(
    ("kind", "streams", "policy"),
    [(SSLModule, ("labeled", "unlabeled"), policy) for policy in ("all", "labeled")]
    + [(UDAModule, ("source", "target"), policy) for policy in ("mixed", "separate", "domain")],
)
def test_converted_module_trains_the_same(
    kind: type[SuperCMModule], streams: tuple[str, str], policy: Any
) -> None:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU())
    module = kind(backbone, 3, feature_size=6, bottleneck=5, batch_norm=policy)
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(module))
    batch = {
        streams[0]: (torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])),
        streams[1]: torch.randn(8, 4),
    }
    assert sum(isinstance(layer, nn.SyncBatchNorm) for layer in converted.modules()) == 2
    for model in (module, converted):
        for _ in range(2):
            model.training_step(batch).backward()
    torch.testing.assert_close(dict(converted.state_dict()), dict(module.state_dict()))
    for ours, theirs in zip(converted.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
