"""Ranks on this machine, each a process of its own."""

from __future__ import annotations

import multiprocessing
import socket
from collections.abc import Callable
from typing import Any

import pytest
import torch.distributed as dist
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


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
