"""Step time with more processes, weak and strong, and the traffic of the method's collectives.

    python -m benchmarks.scaling [--processes 1 2 --labeled 50 --unlabeled 50 --json FILE]

Weak scaling: every process has a full batch. Strong scaling: they share one. Images per second are
compared with those of one process times the number of processes. On CUDA each process has one GPU
and uses NCCL; otherwise processes share the cores evenly and use gloo. Processes wait for each
other in backward, so the time of rank 0 holds for all. Collectives are counted when they are
called, without those of DistributedDataParallel: their number per step, and the bytes of their
tensors.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.timing import interleave, machine, write_json
from supercm_pl import SSLModule
from supercm_pl.backbones import WideResNet


class TrainingStep(nn.Module):
    """A module whose forward is the training step, as a strategy wraps it."""

    def __init__(self, module: SSLModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: dict[str, Any]) -> Tensor:
        """Return the loss of a batch."""
        return self.module.training_step(batch)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    rows = []
    for processes in options.processes:
        for kind in ("weak", "strong") if processes > 1 else ("weak",):
            rows.append(run(processes, kind, options))
    result = {"machine": machine(), **vars(options), "rows": rows}
    print(to_markdown(rows))
    write_json(options.json, result)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--labeled", type=int, default=50, help="labeled samples per step")
    parser.add_argument("--unlabeled", type=int, default=50, help="unlabeled samples per step")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--size", type=int, default=32, help="image size in pixels")
    parser.add_argument("--steps", type=int, default=8, help="timed steps")
    parser.add_argument("--json", help="write the results to this file")
    return parser.parse_args(arguments)


def run(processes: int, kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """Time a group of processes; return the result of rank 0."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = (processes, kind, options, folder)
        spawn(measure, args=arguments, nprocs=processes)  # type: ignore[no-untyped-call]
        row: dict[str, Any] = json.loads(Path(folder, "0.json").read_text())
    return row


def measure(rank: int, processes: int, kind: str, options: argparse.Namespace, folder: str) -> None:
    cuda = torch.cuda.device_count() >= processes
    device = torch.device("cuda", rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
    dist.init_process_group(
        "nccl" if cuda else "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=processes,
    )
    share = 1 if kind == "weak" else processes
    sizes = options.labeled // share, options.unlabeled // share
    torch.manual_seed(rank)
    batch = {
        "labeled": (
            torch.randn(sizes[0], 3, options.size, options.size, device=device),
            torch.randint(options.classes, (sizes[0],), device=device),
        ),
        "unlabeled": torch.randn(sizes[1], 3, options.size, options.size, device=device),
    }
    torch.manual_seed(0)
    module = SSLModule(WideResNet(), options.classes).to(device)
    model = DistributedDataParallel(TrainingStep(module), [rank] if cuda else None)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.03)

    def step() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(model(batch))
        optimizer.step()

    seconds = interleave({"step": step}, options.steps)["step"]
    with own_collectives() as moved:
        step()
    if rank == 0:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        row = {
            "processes": processes,
            "kind": kind,
            "rows": sum(sizes) * processes,
            "seconds": statistics.median(seconds),
            "images_per_second": sum(sizes) * processes / statistics.median(seconds),
            "own_collectives": len(moved),
            "own_bytes": sum(moved),
            "peak_bytes": torch.cuda.max_memory_allocated() if cuda else peak,
        }
        Path(folder, "0.json").write_text(json.dumps(row))
    dist.destroy_process_group()


@contextmanager
def own_collectives() -> Iterator[list[int]]:
    """Record the bytes of each all-reduce called from Python; DDP calls its own from C++."""
    sizes: list[int] = []
    all_reduce = dist.all_reduce

    def counted(tensor: Tensor, *arguments: Any, **options: Any) -> Any:
        sizes.append(tensor.numel() * tensor.element_size())
        return all_reduce(tensor, *arguments, **options)

    dist.all_reduce = counted
    try:
        yield sizes
    finally:
        dist.all_reduce = all_reduce


def to_markdown(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| processes | rows | ms a step | images/s | of linear | own collectives | peak memory |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    alone = rows[0]["images_per_second"] / rows[0]["processes"]
    for row in rows:
        efficiency = row["images_per_second"] / row["processes"] / alone
        lines.append(
            f"| {row['processes']}, {row['kind']} | {row['rows']} | {1e3 * row['seconds']:.0f} "
            f"| {row['images_per_second']:.0f} | {efficiency:.0%} | {row['own_collectives']}, "
            f"{row['own_bytes']:,} B | {row['peak_bytes'] / 2**20:.0f} MiB a process |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
