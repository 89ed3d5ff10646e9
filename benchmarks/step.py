"""Time and memory of a training step: plain supervised, SuperCM, and the SuperCM authors' version.

All arms use the same batch, a WRN-28-2 and Adam.

- "Plain" is cross-entropy on all samples, with the same passes through the network.
- "Channels last" is the memory layout of the shipped image configurations.
- "In a trainer" is the same step taken by Lightning's trainer.
- "The authors' algorithm" follows their description on the same network: an extra forward pass of
  the labeled samples in eval mode, centroids class by class in a loop, and a moving average of the
  weights parameter by parameter.
- "The authors' code" (``--reference DIR``) uses their network, centroids, loss and moving average
  from a checkout of github.com/Durgesh93/SuperCM.

    python -m benchmarks.step [--labeled 50 --unlabeled 50 --rounds 15 --reference DIR --json FILE]
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import statistics
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
import torch.nn.functional as F

from benchmarks import reference
from benchmarks.timing import interleave, machine, peak_extra_memory, quiet, ratio, write_json
from supercm_pl import SSLModule
from supercm_pl.backbones import WideResNet
from supercm_pl.clustering.functional import clustering_loss

CM_WEIGHT = 0.186
Batch = dict[str, Any]
Step = Callable[[], object]


def plain(batch: Batch, *, autocast: bool = False, **options: Any) -> Step:
    """Return a step of plain cross-entropy with a label for every sample."""
    (labeled, _), unlabeled = batch["labeled"], batch["unlabeled"]
    every = torch.cat([labeled, unlabeled])
    labels = torch.arange(len(every), device=every.device) % 10
    module = _module(every.device, cm_weight=0.0, **options)
    return _step(module, {"labeled": (every, labels)}, autocast)


def supercm(batch: Batch, *, autocast: bool = False, **options: Any) -> Step:
    """Return a step of SuperCM."""
    device = batch["unlabeled"].device
    return _step(_module(device, cm_weight=CM_WEIGHT, **options), batch, autocast)


def in_a_trainer(batch: Batch, **options: Any) -> Step:
    """Return the same step, taken by a trainer that waits for its turn."""
    device = batch["unlabeled"].device
    return _Fitting(_module(device, cm_weight=CM_WEIGHT, **options), batch).step


def authors_algorithm(batch: Batch) -> Step:
    """Return a step as the authors describe it."""
    (labeled, labels), unlabeled = batch["labeled"], batch["unlabeled"]
    module = _module(labeled.device, cm_weight=CM_WEIGHT)
    average = copy.deepcopy(module)
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-4)
    centroids = torch.zeros_like(module.head.centroids)
    iteration = 0

    def step() -> None:
        nonlocal iteration
        iteration += 1
        module.eval()
        with torch.no_grad():
            features = module.backbone(labeled)
            for k in range(10):
                members = features[labels == k]
                if len(members):
                    centroids[k] += (members.mean(0) - centroids[k]) / iteration
        module.train()
        rows = module.forward_outputs(torch.cat([labeled, unlabeled]))
        loss = F.cross_entropy(rows.logits[: len(labeled)], labels)
        cm = clustering_loss(rows.features, rows.assignments, centroids).total
        optimizer.zero_grad()
        torch.autograd.backward(loss + CM_WEIGHT * cm)
        optimizer.step()
        with torch.no_grad():
            for mean, current in zip(average.parameters(), module.parameters(), strict=True):
                mean.mul_(0.99).add_(current, alpha=0.01)

    return step


ARMS: dict[str, Callable[[Batch], Step]] = {
    "plain": plain,
    "SuperCM": supercm,
    "plain, channels last": lambda batch: plain(batch, channels_last=True),
    "SuperCM, channels last": lambda batch: supercm(batch, channels_last=True),
    "SuperCM, channels last, in a trainer": lambda batch: in_a_trainer(batch, channels_last=True),
    "the authors' algorithm": authors_algorithm,
    "SuperCM, channels last, compiled": lambda batch: supercm(
        batch, channels_last=True, compile_mode="default"
    ),
    "SuperCM, channels last, bf16": lambda batch: supercm(batch, channels_last=True, autocast=True),
}
LAST: dict[str, Any] = {"channels_last": True}
GRAPHED: dict[str, Any] = {**LAST, "compile_mode": "reduce-overhead"}
ON_GPUS: dict[str, Callable[[Batch], Step]] = {
    "plain, channels last, compiled": lambda batch: plain(batch, **LAST, compile_mode="default"),
    "plain, channels last, graphed": lambda batch: plain(batch, **GRAPHED),
    "SuperCM, channels last, graphed": lambda batch: supercm(batch, **GRAPHED),
    "plain, channels last, bf16": lambda batch: plain(batch, **LAST, autocast=True),
    "plain, channels last, bf16, graphed": lambda batch: plain(batch, **GRAPHED, autocast=True),
    "SuperCM, channels last, bf16, graphed": lambda batch: supercm(batch, **GRAPHED, autocast=True),
}
"""Graphed is PyTorch's mode ``reduce-overhead``, which uses CUDA graphs."""
THREADED = {"SuperCM, channels last, in a trainer"}
MAY_NOT_END = {"SuperCM, channels last, bf16"}
"""On a processor without units for bfloat16 a step takes minutes."""


def main() -> None:
    arguments = parse()
    quiet()
    batch = batch_of(arguments)
    if arguments.profile is not None:
        print(operators(ARMS[arguments.profile](batch)))
        return
    arms = {**ARMS, **ON_GPUS} if arguments.gpu else ARMS
    chosen = {name: arms[name] for name in arms if name in (arguments.arms or arms)}
    if arguments.reference is not None:
        chosen["the authors' code"] = lambda batch: reference.step(
            arguments.reference, batch, CM_WEIGHT
        )
    late = [name for name in chosen if name in MAY_NOT_END and not ends(name, arguments)]
    steps = {name: make(batch) for name, make in chosen.items() if name not in late}
    seconds = interleave(steps, arguments.rounds, arguments.warmup)
    first = next(iter(steps))
    rows = [
        {
            "step": name,
            "ms": 1e3 * statistics.median(seconds[name]),
            f"over {first}": ratio(seconds[name], seconds[first]),
            **{
                f"{other} over it": ratio(seconds[other], seconds[name])
                for other in ("the authors' algorithm", "the authors' code")
                if other in steps
            },
            # Not of a step in another thread, whose memory the profiler does not see.
            "peak MiB": (
                None
                if name in THREADED
                else peak_extra_memory(step, batch["unlabeled"].device) / 2**20
            ),
        }
        for name, step in steps.items()
    ]
    print(f"WRN-28-2, {arguments.labeled} + {arguments.unlabeled} images of 32x32, {machine()}\n")
    print(to_markdown(rows))
    for name in late:
        print(f"\n{name}: did not end within {arguments.limit:g} s")
    result = {"arguments": vars(arguments), "machine": machine(), "rows": rows, "late": late}
    write_json(arguments.json, {**result, "seconds": seconds})


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--labeled", type=int, default=50)
    parser.add_argument("--unlabeled", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--warmup", type=int, default=2, help="rounds that are not timed")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    parser.add_argument(
        "--arms", nargs="+", choices=ARMS, help="run only these; the first is the reference"
    )
    parser.add_argument("--gpu", action="store_true", help="also the arms for GPUs")
    parser.add_argument("--reference", type=Path, help="a checkout of the authors' repository")
    parser.add_argument(
        "--limit", type=float, default=60.0, help="time limit of the first step in seconds"
    )
    parser.add_argument("--profile", choices=ARMS, help="only profile this arm")
    parser.add_argument("--json", help="write the results to this file")
    return parser.parse_args()


def batch_of(arguments: argparse.Namespace) -> Batch:
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    return {
        "labeled": (
            torch.rand(arguments.labeled, 3, 32, 32, device=device),
            torch.arange(arguments.labeled, device=device) % 10,
        ),
        "unlabeled": torch.rand(arguments.unlabeled, 3, 32, 32, device=device),
    }


def ends(name: str, arguments: argparse.Namespace) -> bool:
    """Whether a first step ends within the limit; tried in a process that can be stopped."""
    context = multiprocessing.get_context("spawn")
    trial = context.Process(target=_try, args=(name, arguments), daemon=True)
    trial.start()
    trial.join(arguments.limit)
    in_time = trial.exitcode == 0
    trial.kill()
    trial.join()
    return in_time


def operators(step: Step) -> str:
    """A table of the operators that take the most time."""
    step()
    with torch.profiler.profile(activities=torch.profiler.supported_activities()) as profiler:
        step()
    table: str = profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=14)
    return table


def to_markdown(rows: list[dict[str, Any]]) -> str:
    lines = [f"| {' | '.join(rows[0])} |", f"|{' --- |' * len(rows[0])}"]
    for row in rows:
        name, milliseconds, *ratios, memory = row.values()
        numbers = [f"{milliseconds:.1f}", *(f"{r:.3f}" for r in ratios)]
        numbers.append("" if memory is None else f"{memory:.0f}")
        lines.append(f"| {name} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def _module(device: torch.device, **options: Any) -> SSLModule:
    torch.manual_seed(0)
    return SSLModule(WideResNet(), num_classes=10, optimizer=_adam, **options).to(device)


def _adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=3e-4)


def _step(module: SSLModule, batch: Batch, autocast: bool = False) -> Step:
    optimizer = _adam(module.parameters())
    device = next(module.parameters()).device.type
    if module.compile_mode is not None:  # as at the start of training
        module.backbone.compile(mode=module.compile_mode)

    def step() -> None:
        if module.compile_mode is not None:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            loss = module.training_step(batch)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()

    return step


def _try(name: str, arguments: argparse.Namespace) -> None:
    ARMS[name](batch_of(arguments))()


class _Fitting(L.Callback):
    """`Trainer.fit` in a thread, held at every batch until its turn."""

    def __init__(self, module: SSLModule, batch: Batch) -> None:
        self.batch = batch
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)
        trainer = L.Trainer(
            devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, max_epochs=1, callbacks=[self],
        )  # fmt: skip
        self.error: BaseException | None = None
        # A daemon, because nothing stops it.
        threading.Thread(target=self._fit, args=(trainer, module), daemon=True).start()

    def __len__(self) -> int:
        return 2**31

    def __iter__(self) -> Iterator[Batch]:
        while True:
            self.go.acquire()
            yield self.batch

    def on_train_batch_end(self, *_: Any) -> None:
        self.done.release()

    def step(self) -> None:
        self.go.release()
        self.done.acquire()
        if self.error is not None:
            raise self.error

    def _fit(self, trainer: L.Trainer, module: SSLModule) -> None:
        try:
            trainer.fit(module, self)
        except BaseException as error:  # the thread that waits is to see it
            self.error = error
            self.done.release()


if __name__ == "__main__":
    main()
