"""Ranks on this machine, each a process of its own."""

from __future__ import annotations

import datetime
import multiprocessing
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import start_processes

needs_ranks = pytest.mark.skipif(
    not dist.is_available() or "forkserver" not in multiprocessing.get_all_start_methods(),
    reason="needs torch.distributed and an operating system that can fork",
)


def start_ranks(function: Callable[..., None], arguments: tuple[Any, ...], number: int) -> Any:
    """Start `function(rank, *arguments)` in as many processes, without waiting for them."""
    # One process imports the package, which takes seconds, and is copied for each rank.
    multiprocessing.set_forkserver_preload(["supercm_pl.training.module", "lightning.pytorch"])
    return start_processes(  # type: ignore[no-untyped-call]
        function, arguments, nprocs=number, join=False, start_method="forkserver"
    )


def run_ranks(function: Callable[..., None], arguments: tuple[Any, ...], number: int) -> None:
    """Run `function(rank, *arguments)` in as many processes; what one of them raises is raised."""
    context = start_ranks(function, arguments, number)
    while not context.join():
        pass


def join_group(rank: int, world_size: int, init_method: str) -> None:
    """Be one of the ranks of a group of processes, with one thread."""
    torch.set_num_threads(1)
    limit = datetime.timedelta(seconds=60)
    dist.init_process_group(
        "gloo", init_method=init_method, rank=rank, world_size=world_size, timeout=limit
    )


def _run_in_group(rank: int, function: Callable[[int], Any], folder: str) -> None:
    join_group(rank, 2, f"file://{folder}/rendezvous")
    torch.save(function(rank), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def results_of_two_ranks(function: Callable[[int], Any], folder: Path) -> list[Any]:
    """What `function(rank)` of a module returns in a group of two processes."""
    run_ranks(_run_in_group, (function, str(folder)), 2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def assert_one_training(ranks: list[dict[str, Tensor]], expected: dict[str, Tensor]) -> None:
    """Two ranks end in one state, that of one process; its losses are the means of theirs."""
    losses = torch.stack([rank.pop("losses") for rank in ranks]).mean(dim=0)
    torch.testing.assert_close(losses, expected.pop("losses"), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ranks[0], ranks[1], rtol=0, atol=0)
    torch.testing.assert_close(ranks[0], expected, rtol=1e-5, atol=1e-5)


def free_port() -> int:
    """A port of this machine on which no process listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
