"""DistributedDataParallel sends rank 0's statistics of batch norm around, and no centroids."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from supercm_pl import SSLModule
from tests.support.ranks import needs_ranks, results_of_two_ranks

pytestmark = needs_ranks


def run_rank(rank: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    module = SSLModule(backbone, 2, feature_size=3, alpha=[1.0, 2.0])
    model = DistributedDataParallel(module)
    with torch.no_grad():
        for buffer in module.buffers():
            buffer.fill_(rank)
    model(torch.ones(2, 4))
    return {name: value.clone() for name, value in module.named_buffers()}


def test_centroids_are_not_sent(tmp_path: Path) -> None:
    first, second = results_of_two_ranks(run_rank, tmp_path)
    for name in first:
        if name.startswith("backbone"):
            assert torch.equal(first[name], second[name])
        elif name.startswith("head"):
            assert (first[name] == 0).all()
            assert (second[name] == 1).all()
