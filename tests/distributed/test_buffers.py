"""DistributedDataParallel sends rank 0's statistics of batch norm around, and no centroids."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from supercm_pl import SSLModule
from tests.support.ranks import needs_ranks, run_ranks

pytestmark = needs_ranks


def run_rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/port", rank=rank, world_size=2)
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    module = SSLModule(backbone, 2, feature_size=3, alpha=[1.0, 2.0])
    model = DistributedDataParallel(module)
    with torch.no_grad():
        for buffer in module.buffers():
            buffer.fill_(rank)
    model(torch.ones(2, 4))
    torch.save({name: value.clone() for name, value in module.named_buffers()}, f"{folder}/{rank}")
    dist.destroy_process_group()


def test_centroids_are_not_sent(tmp_path: Path) -> None:
    run_ranks(run_rank, (str(tmp_path),), 2)
    first, second = (torch.load(tmp_path / str(rank), weights_only=True) for rank in range(2))
    for name in first:
        if name.startswith("backbone"):
            assert torch.equal(first[name], second[name])
        elif name.startswith("head"):
            assert (first[name] == 0).all()
            assert (second[name] == 1).all()
