"""Two ranks that share out the parameters, by FSDP2, train as one process does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed import fsdp

from supercm_pl import SSLModule
from supercm_pl.clustering import CentroidMode
from tests.support.fitting import fit, join
from tests.support.ranks import free_port, needs_ranks, run_ranks

pytestmark = [
    needs_ranks,
    pytest.mark.skipif(
        not hasattr(getattr(fsdp, "FSDPModule", None), "set_force_sum_reduction_for_comms"),
        reason="needs a newer PyTorch, whose FSDP2 can average gradients on CPUs",
    ),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
]


class Sharded(SSLModule):
    """What the page on scale says to write."""

    def configure_model(self) -> None:
        mesh = self.device_mesh["data_parallel"]
        fsdp.fully_shard(self.backbone, mesh=mesh)
        fsdp.fully_shard(self.head, mesh=mesh, reshard_after_forward=False)
        for part in (self.backbone, self.head):
            # In some releases gloo sums where it is asked for the average.
            part.set_force_sum_reduction_for_comms(True)


def run_rank(rank: int, folder: str, ports: dict[str, int]) -> None:
    for mode, port in ports.items():
        join(rank, port)
        strategy = ModelParallelStrategy(
            data_parallel_size=2,
            tensor_parallel_size=1,
            process_group_backend="gloo",
            save_distributed_checkpoint=False,
        )
        state = fit(
            Path(folder, mode), world_size=2, kind=Sharded, strategy=strategy, centroids=mode
        )
        whole = {
            name: value.full_tensor() if hasattr(value, "full_tensor") else value
            for name, value in state.items()
        }
        torch.save(whole, Path(folder, f"{mode}-{rank}.pt"))
        torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sharded")
    run_ranks(run_rank, (str(path), {mode: free_port() for mode in get_args(CentroidMode)}), 2)
    return path


@pytest.mark.parametrize("mode", get_args(CentroidMode))
def test_sharded_ranks_end_where_one_process_does(mode: Any, folder: Path, tmp_path: Path) -> None:
    expected = fit(tmp_path, centroids=mode)
    for rank in range(2):
        state = torch.load(folder / f"{mode}-{rank}.pt", weights_only=True)
        torch.testing.assert_close(state, dict(expected), rtol=1e-5, atol=1e-5)


def test_one_process_goes_on_from_their_checkpoint(folder: Path, tmp_path: Path) -> None:
    state = fit(tmp_path / "resumed", folder / "cumulative" / "step=4.ckpt")
    torch.testing.assert_close(dict(state), dict(fit(tmp_path / "whole")), rtol=1e-5, atol=1e-5)
